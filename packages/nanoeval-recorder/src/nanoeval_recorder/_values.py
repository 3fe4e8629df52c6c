"""JSON for whatever a user records: one defined encoding for each kind of value.

What JSON has is written as it is. Beyond that (docs/records.md has the table):

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

Encoding never raises an `Exception`, so recording cannot crash a task.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import os
from collections.abc import KeysView, Mapping, Set, ValuesView
from typing import Any

import msgspec

MAX_REPR = 10_000
MAX_DEPTH = 100
_MAX_INT_BITS = 13_000  # about 4000 digits: Python reads no longer ones back


def encode(value: Any) -> bytes:
    """`value` as one line of UTF-8 JSON, a snapshot that shares nothing with it."""
    try:
        return _encoder.encode(value)
    except Exception:  # noqa: BLE001  whatever is wrong with it, the slow path has an answer
        return _encode_anything(value)


def _encode_anything(value: Any) -> bytes:
    try:
        return _encoder.encode(plain(value))
    except Exception as error:  # noqa: BLE001  recorded instead of the value
        return _encoder.encode({"unencodable": _describe_failure(value, error)})


def plain(value: Any) -> Any:
    """`value` in terms of dict, list, str, bytes, int, float, bool and None only."""
    return _plain(value, 0, set())


def _plain(value: Any, depth: int, parents: set[int]) -> Any:
    kind = type(value)
    if value is None or kind in (bool, float, bytes):
        return value
    if kind is str:
        return _utf8(value)
    if kind is int:
        return value if value.bit_length() <= _MAX_INT_BITS else hex(value)
    if depth >= MAX_DEPTH:
        return "<nested too deep>"
    if id(value) in parents:
        return "<cycle>"
    parents.add(id(value))
    try:
        return _plain_parts(value, depth + 1, parents)
    except Exception as error:  # noqa: BLE001  recorded instead of the value
        return _describe_failure(value, error)
    finally:
        parents.discard(id(value))


def _plain_parts(value: Any, depth: int, parents: set[int]) -> Any:
    if isinstance(value, dict):
        return {_key(k): _plain(v, depth, parents) for k, v in list(value.items())}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(part, depth, parents) for part in list(value)]
    if isinstance(value, enum.Enum):
        return _plain(value.value, depth, parents)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {f.name: _plain(getattr(value, f.name, None), depth, parents) for f in fields}
    if isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
        return {name: _plain(getattr(value, name), depth, parents) for name in names}
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    try:
        # Only the part that cannot be encoded is written differently; this one may well be fine.
        return msgspec.json.decode(_encoder.encode(value))
    except Exception:  # noqa: BLE001  then it, or a part of it, is what cannot be encoded
        return _plain(_to_json(value), depth, parents)


def _key(key: Any) -> str:
    if type(key) is str:
        return _utf8(key)
    try:
        return _utf8(str(_to_json(key) if isinstance(key, str) else _key_text(key)))
    except Exception as error:  # noqa: BLE001  recorded instead of the key
        return _describe_failure(key, error)


def _key_text(key: Any) -> str:
    """The text of a dict's key that is no text, as `json` of the standard library has it."""
    if key is None:
        return "null"
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, enum.Enum):
        return _key_text(key.value)
    if isinstance(key, (int, float, str)):
        return str(key)
    if hasattr(key, "item") and hasattr(key, "dtype"):
        return str(_to_json(key))
    return _repr(key)


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _to_json(value: Any) -> Any:
    """One step from a value that msgspec does not know towards JSON. Never raises `Exception`."""
    try:
        return _convert(value)
    except Exception as error:  # noqa: BLE001  recorded instead of the value
        return _describe_failure(value, error)


def _convert(value: Any) -> Any:
    for base, convert in _BY_BASE:
        if isinstance(value, base):
            return convert(value)
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{value.__module__}:{value.__qualname__}"
    if hasattr(value, "__chz_fields__"):
        return {name: getattr(value, name) for name in value.__chz_fields__}
    for method in ("model_dump", "tolist"):  # pydantic; numpy, torch, pandas
        if callable(getattr(value, method, None)):
            converted = getattr(value, method)()
            return _repr(value) if type(converted) is type(value) else converted
    return _repr(value)


def _hook(value: Any) -> Any:
    if value is None or type(value) is bool:  # asked of keys only: msgspec knows them as values
        return _key_text(value)
    return _to_json(value)


def _repr(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_REPR else f"{text[:MAX_REPR]}… ({len(text)} characters)"


def _describe_failure(value: Any, error: Exception) -> str:
    # type(), unlike __class__ or repr, runs none of the value's own code.
    return f"<{type(value).__name__} that cannot be encoded: {type(error).__name__}>"


_BY_BASE: tuple[tuple[type | tuple[type, ...], Any], ...] = (
    (str, str.__str__),
    (bool, bool),
    (type(None), _key_text),  # only ever asked of a key of a dict
    (int, lambda value: int.__add__(value, 0)),
    (float, float.__float__),
    ((datetime.datetime, datetime.date, datetime.time), lambda value: value.isoformat()),
    (os.PathLike, lambda value: str(os.fspath(value))),
    (BaseException, lambda value: {"type": type(value).__name__, "message": str(value)}),
    (Mapping, dict),
    ((collections.deque, Set, KeysView, ValuesView), list),
    (tuple, _repr),  # only ever asked of a key of a dict
)


_encoder = msgspec.json.Encoder(enc_hook=_hook)

encode_fast = _encoder.encode
"""The fast half of `encode`: it may raise."""
