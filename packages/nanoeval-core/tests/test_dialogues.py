"""Long dialogues are recorded once, and come back whole."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoeval_core.dialogues import FOLD_FROM, RecordedTurn, fold, unfold

LONG = "x" * FOLD_FROM


def there_and_back(samplings: list[tuple[list[Any], Any]]) -> list[list[Any]]:
    written: list[RecordedTurn] = []
    read: list[RecordedTurn] = []
    found = []
    for prompt, sampled in samplings:
        line = json.dumps([fold(prompt, sampled, written), sampled])
        recorded, replies = json.loads(line)
        found.append(copy.deepcopy(unfold(recorded, replies, read)))
    return found


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "tool_calls": [{"id": "1", "name": "bash"}]}


def test_a_repeated_prefix_and_a_long_reply_become_references() -> None:
    turns: list[RecordedTurn] = []
    first = [user(LONG)]
    assert fold(first, ["a" * 2000], turns) == first
    second = [*first, assistant("a" * 2000), user("go on")]
    folded = fold(second, "ok", turns)
    assert folded == [
        {"repeats": {"back": 1, "messages": 1}},
        {**assistant(""), "content": {"repeats": {"back": 1, "reply": 0}}},
        user("go on"),
    ]
    assert fold([*second, assistant("ok"), user("more")], "ok", turns) == [
        {"repeats": {"back": 1, "messages": 3}}, assistant("ok"), user("more"),
    ]  # fmt: skip


def test_short_prompts_stay_as_they_are() -> None:
    turns: list[RecordedTurn] = []
    prompt = [user("hello")]
    for turn in range(20):
        assert fold(prompt, "hi", turns) == prompt
        prompt = [*prompt, assistant("hi"), user(f"again {turn}")]


def test_dialogues_of_an_attempt_may_alternate() -> None:
    one, two = [user(LONG + "1")], [user(LONG + "2")]
    samplings: list[tuple[list[Any], Any]] = []
    for turn in range(6):
        for dialogue in (one, two):
            samplings.append((list(dialogue), f"reply {turn} " + "y" * 1500))
            dialogue += [assistant(samplings[-1][1]), user(f"more {turn}")]
    assert there_and_back(samplings) == [prompt for prompt, _ in samplings]
    turns: list[RecordedTurn] = []
    sizes = [len(json.dumps(fold(prompt, sampled, turns))) for prompt, sampled in samplings]
    assert max(sizes[2:]) < 1000


def test_messages_that_change_in_place_are_not_taken_for_what_they_were() -> None:
    turns: list[RecordedTurn] = []
    prompt = [user(LONG), user("first")]
    fold(prompt, "r", turns)
    prompt[1]["content"] = "second"
    assert fold(prompt, "r", turns) == [{"repeats": {"back": 1, "messages": 1}}, user("second")]


@pytest.mark.parametrize("odd", [object(), {1, 2}, b"bytes", (1, 2), ..., 1j])
def test_what_is_no_plain_json_is_never_referred_to(odd: Any) -> None:
    turns: list[RecordedTurn] = []
    prompt = [user(LONG), {"role": "user", "content": odd}, user(LONG)]
    fold(prompt, "r", turns)
    folded = fold(prompt, "r", turns)
    assert folded[1:] == prompt[1:]


def test_a_reference_to_what_is_not_there_stays_as_it_is() -> None:
    odd: list[Any] = [
        {"repeats": {"back": 7, "messages": 1}},
        {"role": "assistant", "content": {"repeats": {"back": 1, "reply": 5}}},
        {"repeats": {"back": "x", "messages": None}},
    ]
    assert unfold(odd, None, []) == odd
    assert unfold(odd, None, [([], [], [])]) == odd


texts = st.sampled_from(["", "a", "b" * 1200, LONG, LONG + "z"])
messages = st.builds(
    lambda role, text: {"role": role, "content": text},
    st.sampled_from(["user", "assistant"]), texts,
)  # fmt: skip


@given(
    st.lists(
        st.tuples(st.lists(messages, max_size=5), texts | st.lists(texts, max_size=2)), max_size=8
    )
)
def test_any_dialogue_comes_back_as_it_was(samplings: list[tuple[list[Any], Any]]) -> None:
    assert there_and_back(samplings) == [prompt for prompt, _ in samplings]
