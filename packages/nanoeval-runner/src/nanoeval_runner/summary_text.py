"""Summaries as JSON text for state files and messages, whatever an eval put in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nanoeval_core.json_values import json_value


def summary_text(summary: Mapping[str, Any]) -> str:
    """`summary` as JSON; what JSON does not have is its text, and never a reason to fail."""
    try:
        return json.dumps(summary, default=_text)
    except (TypeError, ValueError, RecursionError):  # keys that are tuples, cycles
        return json.dumps(json_value(summary))


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  said in its place; the results are worth more
        return f"<{type(value).__name__} without a text: {type(error).__name__}>"
