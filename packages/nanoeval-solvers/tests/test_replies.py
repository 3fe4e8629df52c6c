"""Replies of many kinds, in tables: what a careful reader says of each, and what we read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nanoeval_solvers._replies.parsing import read_choices
from nanoeval_solvers._replies.rules import RULES
from nanoeval_solvers.graders import ContainsMatch, ExactMatch, Grader, NumericMatch, verdict_of
from nanoeval_solvers.short_answer_api import answer_in

CITIES = ("Lyon", "Paris", "Nice", "Lille")
DATA = Path(__file__).parent / "data"


def cases(file: str, *kinds: str) -> Iterator[dict[str, Any]]:
    for line in (DATA / file).read_text("utf-8").splitlines():
        case = json.loads(line)
        if case["kind"] in kinds:
            yield case


def read(case: dict[str, Any]) -> str:
    """What we read, spelled as the table's `expected`."""
    if case["kind"] == "number":
        grading = NumericMatch().grade("?", case["reply"], [case["reference"]], sample="q.1")
        return "right" if asyncio.run(grading).correct else "wrong"
    if case["kind"] == "short":
        answer = answer_in(case["reply"])
        return "unparsable" if answer is None else answer.strip("$.* ")
    choices = case.get("choices") or CITIES
    picked = read_choices(case["reply"], choices, multiple=case["kind"] == "mcq-multi").picked
    if picked is None:
        return "unparsable"
    return "".join(chr(ord("A") + index) for index in sorted(picked)) or "none"


@pytest.mark.parametrize("file", ["replies.jsonl", "more_replies.jsonl"])
@pytest.mark.parametrize("kinds", [("mcq",), ("mcq-multi",), ("short",), ("number",)], ids=str)
def test_nothing_is_read_wrong_and_nearly_everything_is_read(
    file: str, kinds: tuple[str, ...]
) -> None:
    table = list(cases(file, *kinds))
    wrong, unread, readable = [], [], 0
    for case in table:
        nothing = "wrong" if case["kind"] == "number" else "unparsable"
        said, expected = read(case), case["expected"].strip("$.* ")
        readable += expected != nothing
        if said not in (expected, nothing):
            wrong.append((case["reply"], expected, said))
        elif said != expected:
            unread.append(case["reply"])
    assert table
    assert wrong == []
    assert len(unread) <= 0.08 * readable, unread


PICK = st.sampled_from("ABCD")
STATED = [
    "Answer: {}",
    "The answer is {}.",
    "\\boxed{{{}}}",
    "It must be {}.",
    "So {} is correct.",
    '{{"answer": "{}"}}',
    "**{}**",
    "I would choose {}.",
    "答案是{}。",
]
THOUGHT = st.text(
    st.characters(exclude_characters="<>[]◁▷|", exclude_categories=["Cs", "Co"]), max_size=80
)
MARKS = [
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<seed:think>", "</seed:think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<reasoning>", "</reasoning>"),
]


@settings(deadline=None)
@given(THOUGHT, st.sampled_from(MARKS), st.sampled_from(STATED), PICK, PICK)
def test_a_thought_changes_nothing(
    thought: str, marks: tuple[str, str], stated: str, letter: str, other: str
) -> None:
    reply = stated.format(letter)
    before = f"{marks[0]}{thought}\nAnswer: {other}{marks[1]}\n"
    assert read_choices(before + reply, CITIES) == read_choices(reply, CITIES)
    assert read_choices(marks[0] + thought + reply, CITIES).picked is None  # never closed


@settings(deadline=None)
@given(st.permutations(range(4)), st.sampled_from(STATED), st.integers(0, 3))
def test_permuting_the_choices_permutes_the_pick(order: list[int], stated: str, right: int) -> None:
    reply = stated.format(CITIES[right])
    picked = read_choices(reply, [CITIES[old] for old in order]).picked
    assert picked == {order.index(right)}


@settings(deadline=None)
@given(st.sampled_from(STATED), PICK, st.sampled_from(["\n\n", "\n", " "]))
def test_what_is_retracted_is_no_answer(stated: str, letter: str, between: str) -> None:
    reply = stated.format(letter)
    assert read_choices(reply, CITIES).picked is not None
    assert read_choices(f"{reply}{between}I retract this. I don't know.", CITIES).picked is None


@settings(deadline=None, max_examples=300)
@given(st.text(st.characters(exclude_categories=["L", "Cs"]), max_size=200))
def test_a_reply_without_a_letter_is_never_read(reply: str) -> None:
    from unicodedata import normalize

    if not any(character.isalpha() for character in normalize("NFKC", reply)):
        marked = any("🅐" <= character <= "🆉" for character in reply)  # symbols that show letters
        assert marked or read_choices(reply, CITIES).picked is None


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=300), st.booleans())
def test_any_text_is_a_reply(reply: str, multiple: bool) -> None:
    picked = read_choices(reply, CITIES, multiple=multiple).picked
    assert picked is None or picked <= {0, 1, 2, 3}
    answer_in(reply)
    verdict_of(reply)


UNITS = ["Answer: ", " ", "[", "(", "{", "**", "B ", "\\boxed{B ", "a, ", "option 2\n", "Q: x\n"]
UNITS += ["why?\nA) ", "Lyon? ", "A: no. ", "so Paris is Lyon. ", "the second option. ", "<think>"]


@pytest.mark.parametrize("unit", UNITS)
def test_long_replies_take_time_in_proportion(unit: str) -> None:
    # Minutes, if the time grew with the square of the length: beyond the guard of every test.
    reply = unit * (100_000 // len(unit))
    read_choices(f"{reply}\n", CITIES)
    answer_in(reply)


@pytest.mark.parametrize("reply", ["\ud83d", "Answer: B \udc00", "B\ud800"])
def test_half_a_surrogate_pair_is_a_reply(reply: str) -> None:
    assert read_choices(reply, CITIES).picked in (None, {1})


def test_a_pick_says_what_it_was_read_from() -> None:
    read_by = {
        '{"answer": "B"}': "structured",
        "Let me see.\n\nAnswer: B": "answer_line",
        "It is so: \\boxed{B}": "boxed",
        "B) Paris": "bare",
        "Paris is the capital, so B is correct.": "prose",
    }
    assert {reply: read_choices(reply, CITIES).read_by for reply in read_by} == read_by
    strict = {
        reply: read_choices(reply, CITIES, parsing="strict").picked == {1} for reply in read_by
    }
    assert strict == {reply: how != "prose" for reply, how in read_by.items()}


def test_a_reply_that_was_cut_off_is_read_where_it_is_explicit() -> None:
    assert read_choices("Answer: B\n\nThis is because", CITIES, truncated=True).picked == {1}
    assert read_choices("So B is correct. Let me", CITIES, truncated=True).picked is None
    assert read_choices("B", CITIES, truncated=True).picked is None


def test_the_public_rules_are_theirs_to_the_letter() -> None:
    assert RULES["gsm8k"]("So 6 * 7.\n#### 1,042") == "1042"
    assert RULES["gsm8k"]("The answer is 42.") is None
    assert RULES["simple_evals_mcq"]("Answer: $C$\nAnswer: D") == "C"  # the first
    assert RULES["simple_evals"]("answer : x = 4") == "x = 4"


@pytest.mark.parametrize(
    ("grader", "answer", "reference", "correct"),
    [
        (ContainsMatch(), "3.5", "5", False),
        (ContainsMatch(), "-42", "42", False),
        (ContainsMatch(), "It is -42.", "-42", True),
        (ContainsMatch(), "答案是巴黎。", "巴黎", True),
        (ContainsMatch(), "서울입니다", "서울", True),
        (ContainsMatch(), "это Москва!", "москва", True),
        (ContainsMatch(), "10⁵", "105", False),
        (ContainsMatch(), "5,000", "5", False),
        (ExactMatch(), "the king’s", "the king's", True),
        (ExactMatch(), "rock–paper", "rock-paper", True),
        (ExactMatch(), "10⁵", "105", False),
        (ExactMatch(), "10⁵", "10^5", True),
    ],
)
def test_characters_are_what_they_say(
    grader: Grader, answer: str, reference: str, correct: bool
) -> None:
    verdict = asyncio.run(grader.grade("?", answer, [reference], sample="q.1"))
    assert verdict.correct is correct


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("<think>Verdict: CORRECT", None),
        ("<think>Verdict: INCORRECT</think>\nVerdict: CORRECT", True),
        ("reasons</think>Verdict: INCORRECT", False),
        ("```\nVerdict: CORRECT\n```", True),
        ("<verdict>\nVerdict: INCORRECT</verdict>", False),
    ],
)
def test_a_verdict_is_found_in_markup_and_not_in_thoughts(reply: str, verdict: bool | None) -> None:
    assert verdict_of(reply) is verdict
