"""JSON lines of whatever a user records: what msgspec does at once, and the rest as core says."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
from nanoeval_core.json_values import json_value, key_text, to_json


def encode(value: Any) -> bytes:
    """Return `value` as one line of UTF-8 JSON: a snapshot. Never raises `Exception`."""
    try:
        return encode_fast(value)
    except Exception:  # noqa: BLE001  whatever is wrong with it, the slow path has an answer
        return _encoder.encode(json_value(value))


def _hook(value: Any) -> Any:
    if value is None or type(value) is bool:  # asked of keys only: msgspec knows them as values
        return key_text(value)
    return to_json(value)


_encoder = msgspec.json.Encoder(enc_hook=_hook)


def _encode_if_shallow(value: Any) -> bytes:
    line = _encoder.encode(value)
    if any(end in line for end in _ENDS) and _is_deep(getattr(value, "data", value)):
        raise RecursionError
    return line


def _is_deep(value: Any) -> bool:
    """Whether some Pythons could not read `value` back."""
    level = [value]
    for _ in range(MAX_FAST_DEPTH):
        level = [
            part
            for one in level
            if isinstance(one, (list, tuple, dict))
            for part in (one.values() if isinstance(one, dict) else one)
            if isinstance(part, (list, tuple, dict))
        ]
        if not level:
            return False
    return True


MAX_FAST_DEPTH = 500
_ENDS = b"]]]]]]]]", b"}}}}}}}}", b"]}]}]}]}"  # how what is nested deeply ends

# From 3.12 on C code may nest ten times deeper than Python, and than an older Python can read.
encode_fast = _encode_if_shallow if sys.version_info >= (3, 12) else _encoder.encode
"""The fast half of `encode`: it may raise."""
