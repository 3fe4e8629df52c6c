"""Long dialogues, recorded once: what a sampling repeats of the ones before it is a reference.

Each call of an agent's model has all earlier messages in its prompt, so a record that holds every
prompt whole grows with the square of the number of turns. Within an attempt

    [{"repeats": {"back": 1, "messages": 12}}, …]            at the head of a prompt stands for
                                                              the first 12 messages of the prompt
                                                              of the sampling before
    {"role": "assistant", "content":
     {"repeats": {"back": 1, "reply": 0}}}                    for its first reply

`back` counts the samplings of the same sample and group whose prompt is a list. Prompts that repeat
little are recorded whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["FOLD_FROM", "RecordedTurn", "fold", "unfold"]

FOLD_FROM = 10_000
"""Characters of a prompt that is folded: shorter ones stay readable by all."""
LONG_REPLY = 1_000
NEAR = 8
"""How many samplings back a repetition is looked for: dialogues of an attempt may alternate."""

RecordedTurn = tuple[list[Any], list[int], Sequence[Any]]
"""A sampling that was recorded: its messages, the characters up to each of them, its replies."""


def fold(prompt: list[Any], replies: Any, turns: list[RecordedTurn]) -> list[Any]:
    """Return `prompt` with what it repeats of `turns` as references, and add it to `turns`.

    A message that is not plain JSON is never referred to, nor is what comes after it.
    """
    known, sizes, back, same = _longest_prefix(prompt, turns)
    messages, lengths = known[:same], sizes[:same]
    for message in prompt[same:]:
        size = [0]
        try:
            messages.append(_copy(message, size))
        except TypeError:
            break
        lengths.append((lengths[-1] if lengths else 0) + size[0])
    turns.append((messages, lengths, list(replies) if type(replies) is list else [replies]))
    if not lengths or lengths[-1] < FOLD_FROM:
        return prompt
    if not same or lengths[same - 1] < FOLD_FROM:
        same = 0
    rest = [_refer(message, turns) for message in prompt[same:]]
    return [{"repeats": {"back": back, "messages": same}}, *rest] if same else rest


def unfold(prompt: list[Any], replies: Any, turns: list[RecordedTurn]) -> list[Any]:
    """Return the whole prompt of a sampling that `fold` gave after `turns`, and add it to them.

    A reference to what is not there stays as it is.
    """
    whole: list[Any] = []
    for place, message in enumerate(prompt):
        if not place and (target := _target(message, "messages", turns)) is not None:
            whole += target[0][0][: target[1]]
        elif isinstance(message, dict) and (
            (target := _target(message.get("content"), "reply", turns)) is not None
            and target[1] < len(target[0][2])
        ):
            whole.append({**message, "content": target[0][2][target[1]]})
        else:
            whole.append(message)
    turns.append((whole, [], replies if type(replies) is list else [replies]))
    return whole


def _longest_prefix(
    prompt: list[Any], turns: list[RecordedTurn]
) -> tuple[list[Any], list[int], int, int]:
    found: tuple[list[Any], list[int], int, int] = ([], [], 0, 0)
    for back, (messages, sizes, _) in enumerate(reversed(turns[-NEAR:]), 1):
        most = min(len(messages), len(prompt))
        # Texts that were passed on from turn to turn are compared by their identity.
        same = next((i for i in range(most) if messages[i] != prompt[i]), most)
        if same > found[3]:
            found = messages, sizes, back, same
        if same == len(messages) > 0:  # it goes on from there
            break
    return found


def _refer(message: Any, turns: list[RecordedTurn]) -> Any:
    if type(message) is not dict:
        return message
    content = message.get("content")
    if type(content) is not str or len(content) < LONG_REPLY:
        return message
    for back, (_, _, replies) in enumerate(reversed(turns[-NEAR - 1 : -1]), 1):
        for number, reply in enumerate(replies):
            if type(reply) is str and reply == content:
                return {**message, "content": {"repeats": {"back": back, "reply": number}}}
    return message


def _copy(value: Any, size: list[int]) -> Any:
    kind = type(value)
    if kind is str:
        size[0] += len(value)
        return value
    if value is None or kind in (bool, int, float):
        return value
    if kind is list:
        return [_copy(part, size) for part in value]
    if kind is dict:
        return {key: _copy(part, size) for key, part in value.items()}
    raise TypeError("not plain JSON")


def _target(value: Any, what: str, turns: list[RecordedTurn]) -> tuple[RecordedTurn, int] | None:
    reference = value.get("repeats") if isinstance(value, dict) and len(value) == 1 else None
    if not (isinstance(reference, dict) and reference.keys() == {"back", what}):
        return None
    back, number = reference["back"], reference[what]
    if type(back) is int and type(number) is int and 0 < back <= len(turns) and number >= 0:
        return turns[-back], number
    return None
