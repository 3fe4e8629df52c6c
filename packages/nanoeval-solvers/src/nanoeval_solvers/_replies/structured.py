"""Answers in JSON, by whatever key. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Container
from typing import Any

from nanoeval_solvers._replies.letters import listed
from nanoeval_solvers._replies.words import NOT, RIGHT, ROLES, WRONG

_KEYS = listed(
    """
    answer answers final_answer finalanswer correct_answer correctanswer correct_answers
    answer_letter answerletter letter letters choice choices_selected selected selected_option
    selected_options selectedoption option correct_option correct_options correct_choice
    final_choice finalchoice answer_choice answerchoice pick picked label response result solution
    prediction predicted_answer chosen selected_answer selected_choice your_answer model_answer
    best_answer final ans correct correct_letter option_letter selected_letter answer_key
    selection verdict conclusion
    """
)
_PAIR = re.compile(
    r"[\"'](?P<key>\w[\w .-]{0,40})[\"']\s*:\s*"
    r"(?:\"(?P<double>(?:[^\"\\\n]|\\.){0,400})\"|'(?P<single>(?:[^'\\\n]|\\.){0,400})'"
    r"|(?P<list>\[[^\[\]{}\n]{0,400}\])|(?P<bare>-?\d[\d.]*|true|false|null))"
)
_AROUND = re.compile(r"```\w*|</?\w{1,30}>")
_LONGEST = 200_000


def object_in(text: str) -> tuple[dict[str, Any], str, str] | None:
    """Return the JSON object that `text` is or holds, and the texts around it; None if none."""
    start, end = text.find("{"), text.rfind("}")
    if not 0 <= start < end or end - start > _LONGEST:
        return None
    inside = text[start : end + 1]
    try:
        content = json.loads(inside, strict=False)
    except (ValueError, RecursionError):
        content = _pairs(inside)
    if not isinstance(content, dict) or not content:
        return None
    return content, _AROUND.sub("", text[:start]), _AROUND.sub("", text[end + 1 :])


def _pairs(text: str) -> dict[str, Any]:
    """Return what looks like keys and values in near JSON: in single quotes, cut off, …"""
    found: dict[str, Any] = {}
    for pair in _PAIR.finditer(text):
        key, value = pair["key"], pair[pair.lastgroup or "bare"]
        if pair.lastgroup == "list":
            value = re.findall(r"[\"']([^\"']*)[\"']", value)
        found[key] = None if key in found and found[key] != value else value
    return found


def answers_in(content: dict[str, Any], labels: Container[str]) -> list[Any] | None:
    """Return the values that answer, each saying the same; None where no key is an answer's."""
    named = {_key(key): value for key, value in content.items()}
    values = [value for key, value in named.items() if key in _KEYS]
    if len(values) == 1 and isinstance(values[0], dict):
        return answers_in(values[0], labels)
    if values:
        return values
    by_label = {key.upper(): value for key, value in content.items() if key.upper() in labels}
    if len(by_label) > 1 and len(by_label) == len(content):
        return _most_probable(by_label)
    inner = [value for value in content.values() if isinstance(value, dict)]
    return answers_in(inner[0], labels) if len(inner) == 1 and len(content) <= 3 else None


def _key(key: str) -> str:
    return re.sub(r"[\s.-]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key.strip())).lower()


def _most_probable(values: dict[str, Any]) -> list[Any] | None:
    """Return the label with the highest of probabilities, or the labels that are true."""
    if all(isinstance(value, bool) for value in values.values()):
        return [[label for label, value in values.items() if value]]
    said = [ROLES.get(value.strip().lower()) for value in values.values() if isinstance(value, str)]
    if len(said) == len(values) and set(said) <= {RIGHT, WRONG, NOT}:
        return [[label for label, role in zip(values, said, strict=True) if role == RIGHT]]
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values.values()):
        return None
    total, most = sum(values.values()), max(values.values())
    if not (0.9 <= total <= 1.1 or 90 <= total <= 110) or min(values.values()) < 0:
        return None
    return [[label for label, value in values.items() if value == most]]
