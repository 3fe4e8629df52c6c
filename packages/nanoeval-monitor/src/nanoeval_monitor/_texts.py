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
    return whole(" ".join(text[: 2 * length].split())[:length])


def number(value: Any) -> float | None:
    """`value` if it is a finite number or a bool, else None."""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    return None


def whole(text: str) -> str:
    r"""`text` with `\udXXX` written out for lone surrogates, which no encoding of Unicode has."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def plain(value: Any) -> Any:
    """`value` as JSON can say it: None for what it has no number for, and whole texts."""
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < 1 << 63 else str(value)
    if isinstance(value, dict):
        return {whole(str(key)): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value
