"""JSON lines of whatever a user records: what msgspec does at once, and the rest as core says."""

from __future__ import annotations

from typing import Any

import msgspec
from nanoeval_core.json_values import json_value, key_text, to_json


def encode(value: Any) -> bytes:
    """Return `value` as one line of UTF-8 JSON: a snapshot. Never raises `Exception`."""
    try:
        return _encoder.encode(value)
    except Exception:  # noqa: BLE001  whatever is wrong with it, the slow path has an answer
        return _encoder.encode(json_value(value))


def _hook(value: Any) -> Any:
    if value is None or type(value) is bool:  # asked of keys only: msgspec knows them as values
        return key_text(value)
    return to_json(value)


_encoder = msgspec.json.Encoder(enc_hook=_hook)

encode_fast = _encoder.encode
"""The fast half of `encode`: it may raise."""
