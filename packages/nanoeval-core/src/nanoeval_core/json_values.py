"""JSON for whatever an eval gives: one defined form for each kind of value.

What JSON has stays as it is. Beyond that (docs/records.md has the table):

    NaN, infinities                  null
    integers                         numbers of any size; beyond 4000 digits, hexadecimal text
    bytes                            base64 text
    text with lone surrogates        each as the six characters of its escape, backslash first
    sets, tuples, deques             arrays
    dataclasses, chz, pydantic       objects of their fields
    enum members                     their value
    numpy and torch arrays, scalars  what their `tolist()` gives
    dates, UUIDs, decimals, paths    text
    exceptions                       {"type", "message"}
    classes, functions               `module:name`
    anything else                    its `repr`, cut at 10,000 characters
    cycles, nesting beyond 100       the texts "<cycle>" and "<nested too deep>"

Nothing here raises an `Exception`, so saying what happened cannot be what fails.
"""

from __future__ import annotations

import base64
import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import os
import uuid
from collections.abc import KeysView, Mapping, Set, ValuesView
from typing import Any

__all__ = ["MAX_DEPTH", "MAX_REPR", "json_text", "json_value", "key_text", "to_json", "utf8"]

MAX_REPR = 10_000
MAX_DEPTH = 100
_MAX_INT_BITS = 13_000  # about 4000 digits: Python reads no longer ones back


def json_value(value: Any) -> Any:
    """Return `value` in terms of dict, list, str, int, finite float, bool and None only."""
    return _plain(value, 0, set())


def json_text(value: Any) -> str:
    """Return `value` as JSON text. What most values need costs no more than `json` itself."""
    try:
        return json.dumps(value, default=to_json)
    except (TypeError, ValueError, RecursionError):  # keys that are tuples, cycles
        return json.dumps(json_value(value))


def utf8(text: str) -> str:
    r"""Return `text` with lone surrogates written out as `\udXXX`: UTF-8 has none."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _plain(value: Any, depth: int, parents: set[int]) -> Any:
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return utf8(value)
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is int:
        return value if value.bit_length() <= _MAX_INT_BITS else hex(value)
    if depth >= MAX_DEPTH:
        return "<nested too deep>"
    if id(value) in parents:
        return "<cycle>"
    parents.add(id(value))
    try:
        if isinstance(value, dict):
            return {_key(k): _plain(v, depth + 1, parents) for k, v in list(value.items())}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [_plain(part, depth + 1, parents) for part in list(value)]
        return _plain(to_json(value), depth + 1, parents)
    except Exception as error:  # noqa: BLE001  recorded instead of the value
        return _describe_failure(value, error)
    finally:
        parents.discard(id(value))


def _key(key: Any) -> str:
    if type(key) is str:
        return utf8(key)
    try:
        return utf8(str(to_json(key) if isinstance(key, str) else key_text(key)))
    except Exception as error:  # noqa: BLE001  recorded instead of the key
        return _describe_failure(key, error)


def key_text(key: Any) -> str:
    """Return the text of a dict's key that is no text, as `json` of the standard library does."""
    if key is None:
        return "null"
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, enum.Enum):
        return key_text(key.value)
    if isinstance(key, (int, float, str)):
        return str(key)
    if hasattr(key, "item") and hasattr(key, "dtype"):
        return str(to_json(key))
    return _repr(key)


def to_json(value: Any) -> Any:
    """Take one step from a value that JSON does not have towards one that it has."""
    try:
        return _convert(value)
    except Exception as error:  # noqa: BLE001  recorded instead of the value
        return _describe_failure(value, error)


def _convert(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name, None) for f in dataclasses.fields(value)}
    for base, convert in _BY_BASE:
        if isinstance(value, base):
            return convert(value)
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{value.__module__}:{value.__qualname__}"
    for names in ("__chz_fields__", "__struct_fields__"):  # chz and msgspec
        if hasattr(value, names):
            return {name: getattr(value, name) for name in getattr(value, names)}
    for method in ("model_dump", "tolist"):  # pydantic; numpy, torch, pandas
        if callable(getattr(value, method, None)):
            converted = getattr(value, method)()
            return _repr(value) if type(converted) is type(value) else converted
    return _repr(value)


def _time(value: datetime.date | datetime.time) -> str:
    text = value.isoformat()
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


def _duration(value: datetime.timedelta) -> str:
    """Return ISO 8601 with days and seconds, as `P1DT2.5S`."""
    sign = "-" if value.days < 0 else ""
    value = abs(value)
    days = f"{value.days}D" if value.days else ""
    seconds = f"{value.seconds}.{value.microseconds:06}".rstrip("0").rstrip(".")
    timed = f"T{seconds}S" if value.seconds or value.microseconds else ""
    return f"{sign}P{days}{timed}" if days or timed else "P0D"


def _repr(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_REPR else f"{text[:MAX_REPR]}… ({len(text)} characters)"


def _describe_failure(value: Any, error: Exception) -> str:
    # type(), unlike __class__ or repr, runs none of the value's own code.
    return f"<{type(value).__name__} that cannot be encoded: {type(error).__name__}>"


_BY_BASE: tuple[tuple[type | tuple[type, ...], Any], ...] = (
    (enum.Enum, lambda value: value.value),
    (str, str.__str__),
    (bool, bool),
    (type(None), key_text),  # only ever asked of a key of a dict
    (int, lambda value: int.__add__(value, 0)),
    (float, float.__float__),
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(value).decode()),
    ((datetime.datetime, datetime.date, datetime.time), _time),
    (datetime.timedelta, _duration),
    ((decimal.Decimal, uuid.UUID), str),
    (os.PathLike, lambda value: str(os.fspath(value))),
    (BaseException, lambda value: {"type": type(value).__name__, "message": str(value)}),
    (Mapping, dict),
    ((collections.deque, Set, KeysView, ValuesView), list),
    (tuple, _repr),  # only ever asked of a key of a dict
)
