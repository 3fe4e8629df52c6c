"""Values that models and users wrote, as short texts for a table. Escaping is the page's task."""

from __future__ import annotations

import json
import math
from typing import Any


def as_text(value: Any) -> str:
    """`value` as people read it: a text as it is, a chat as its messages, else as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list) and value and all(is_message(one) for one in value):
        return "\n\n".join(f"{one['role']}: {as_text(one.get('content'))}" for one in value)
    if isinstance(value, list) and len(value) == 1:
        return as_text(value[0])
    return json.dumps(value, ensure_ascii=False, default=str)


def is_message(value: Any) -> bool:
    """Whether `value` is one message of a chat."""
    return isinstance(value, dict) and isinstance(value.get("role"), str)


def head(text: str, length: int) -> str:
    """The first `length` characters of `text` in one line."""
    return " ".join(text[: 2 * length].split())[:length]


def number(value: Any) -> float | None:
    """`value` if it is a finite number or a bool, else None."""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    return None


def without_nan(value: Any) -> Any:
    """`value` with None for what JSON has no number for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): without_nan(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(one) for one in value]
    return value
