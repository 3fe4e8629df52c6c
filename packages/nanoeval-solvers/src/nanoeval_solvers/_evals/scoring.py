"""How evallib's basic evals score a reply, to the letter: scores must agree with its own."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Score(NamedTuple):
    """Whether a reply is right, what was picked from it, and its F1 where the form has one."""

    correct: bool
    picked: Any
    f1: float | None = None


def match(reply: str, ideal: Sequence[str]) -> Score:
    """Score as right a reply that begins with an ideal answer."""
    picked = next((answer for answer in ideal if reply.startswith(answer)), None)
    return Score(picked is not None, picked)


def includes(reply: str, ideal: Sequence[str], *, ignore_case: bool = False) -> Score:
    """Score as right a reply that has an ideal answer anywhere."""
    text = reply.lower() if ignore_case else reply
    answers = [answer.lower() if ignore_case else answer for answer in ideal]
    return Score(any(answer in text for answer in answers), reply)


def fuzzy_match(reply: str, ideal: Sequence[str]) -> Score:
    """Score as right a reply that is in an ideal answer, or holds one, both normalized."""
    matches = [_alike(normalized(reply), normalized(answer)) for answer in ideal]
    f1 = max((_f1(reply, answer) for answer in ideal), default=0.0)
    return Score(any(matches), [reply for alike in matches if alike], f1)


def _alike(one: str, other: str) -> bool:
    if not one or not other:
        return one == other
    return one in other or other in one


def normalized(text: str) -> str:
    """Lower case, without punctuation and articles, single blanks between words."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _f1(reply: str, answer: str) -> float:
    said, wanted = normalized(reply).split(), normalized(answer).split()
    shared = sum((Counter(said) & Counter(wanted)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(said), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


def json_match(reply: str, ideal: Sequence[str]) -> Score:
    """Score as right a reply of JSON that equals an ideal answer, part by part; null never does."""
    try:
        said = json.loads(reply)
    except ValueError:
        said = None
    matches = [_same_json(said, json.loads(answer)) for answer in ideal]
    return Score(any(matches), [reply for same in matches if same])


def _same_json(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return False
    if isinstance(one, dict):
        return isinstance(other, dict) and all(
            _same_json(one.get(key), other.get(key)) for key in one.keys() | other.keys()
        )
    if isinstance(one, list):
        return (
            isinstance(other, list)
            and len(one) == len(other)
            and all(_same_json(a, b) for a, b in zip(one, other, strict=True))
        )
    return bool(one == other)


class Form(NamedTuple):
    """How evals of one of evallib's classes score a reply, and what they send with a prompt."""

    name: str
    score: Callable[..., Score]
    params: Mapping[str, Any]


FORMS = {
    "evals.elsuite.basic.match:Match": Form("match", match, {"temperature": 0.0}),
    "evals.elsuite.basic.includes:Includes": Form("includes", includes, {}),
    "evals.elsuite.basic.fuzzy_match:FuzzyMatch": Form(
        "fuzzy_match", fuzzy_match, {"temperature": 0.0, "max_tokens": 100}
    ),
    "evals.elsuite.basic.json_match:JsonMatch": Form(
        "json_match", json_match, {"temperature": 0.0, "max_tokens": 512}
    ),
    "evals.elsuite.multiple_choice:MultipleChoice": Form(
        "multiple_choice", match, {"temperature": 0.0, "max_tokens": 1}
    ),
}
