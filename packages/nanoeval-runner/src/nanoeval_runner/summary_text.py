"""Summaries as JSON text for state files and messages, whatever an eval put in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = [
    "summary_text",
]

MAX_DEPTH = 50


def summary_text(summary: Mapping[str, Any]) -> str:
    """`summary` as JSON; what JSON does not have is its text, and never a reason to fail."""
    try:
        return json.dumps(summary, default=_text)
    except (TypeError, ValueError, RecursionError):  # keys that are tuples, cycles
        return json.dumps(_plain(summary, 0))


def _plain(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return "<nested too deep, or a cycle>"
    if isinstance(value, Mapping):
        return {_key(name): _plain(one, depth + 1) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one, depth + 1) for one in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return _text(value)


def _key(name: Any) -> Any:
    return name if name is None or isinstance(name, (str, bool, int, float)) else _text(name)


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  said in its place; the results are worth more
        return f"<{type(value).__name__} without a text: {type(error).__name__}>"
