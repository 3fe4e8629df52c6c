"""Values that models and users wrote, as short texts for a table. Escaping is the page's task."""

from __future__ import annotations

import json
import math
from typing import Any

from nanoeval_core.json_values import utf8


def as_text(value: Any) -> str:
    """Return `value` as people read it: a text as it is, a chat as its messages, else as JSON."""
    try:
        return _as_text(value)
    except RecursionError:
        return "<nested too deep>"


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or is_reference(value):
        return ""
    if isinstance(value, list) and value:
        chat = _chat_text(value)
        if chat is not None:
            return chat
        if all(isinstance(one, dict) and "type" in one for one in value):
            return "\n".join(str(one.get("text") or f"[{one['type']}]") for one in value)
        if len(value) == 1:
            return _as_text(value[0])
    return json.dumps(value, ensure_ascii=False, default=str)


def _chat_text(messages: list[Any]) -> str | None:
    """Return the messages of a chat, one after the other; None where one of them is no message."""
    said = []
    for one in messages:
        if is_message(one):
            said.append(f"{one['role']}: {_as_text(one.get('content'))}")
        elif not is_reference(one):
            return None
    return "\n\n".join(said)


def question_of(prompt: Any) -> str:
    """Return what a prompt asks: of a chat, its last message of the user."""
    if isinstance(prompt, list):
        asked = [one for one in prompt if is_message(one) and one["role"] == "user"]
        if asked:
            return as_text(asked[-1].get("content"))
    return as_text(prompt)


def is_message(value: Any) -> bool:
    """Return whether `value` is one message of a chat."""
    return isinstance(value, dict) and isinstance(value.get("role"), str)


def is_reference(value: Any) -> bool:
    """Return whether `value` stands for what an earlier turn of the dialogue holds."""
    return isinstance(value, dict) and value.keys() == {"repeats"}


def head(text: str, length: int) -> str:
    """Return the first `length` characters of `text` in one line."""
    return utf8(" ".join(text[: 2 * length].split())[:length]) if text else ""


def number(value: Any) -> float | None:
    """Return `value` if it is a bool or a number that a float can hold, else None."""
    try:
        return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
    except OverflowError:
        return None
