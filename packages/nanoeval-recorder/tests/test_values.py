"""Every kind of value has one encoding, and none can make recording fail."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import uuid
from collections import OrderedDict, deque, namedtuple
from typing import Any

import chz
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoeval_core.json_values import MAX_DEPTH, MAX_REPR
from nanoeval_recorder._file_recorder import encode

Pair = namedtuple("Pair", "a b")


class Color(enum.Enum):
    RED = "red"
    ODD = (1, "x")


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Record:
    name: str
    inner: Any


class Model(pydantic.BaseModel):
    a: int = 1
    when: datetime.date = datetime.date(2026, 1, 2)


@chz.chz
class Config:
    x: int = 3


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


class ReprRaises:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class DumpRaises(pydantic.BaseModel):
    def model_dump(self, **kwargs: Any) -> Any:
        raise RuntimeError("no dump")


def some_function() -> None: ...


EXACT: list[tuple[str, Any, Any]] = [
    ("nan", float("nan"), None),
    ("infinity", [float("inf"), float("-inf")], [None, None]),
    ("big int", 2**70, 2**70),
    ("huge int", 10**6000, hex(10**6000)),
    ("lone surrogate", "a\ud800b", "a\\ud800b"),
    ("lone surrogate in a key", {"\udfff": 1}, {"\\udfff": 1}),
    ("separators", "a\u2028\u2029\x00\x7f", "a\u2028\u2029\x00\x7f"),
    ("bytes", b"\xff\x00", "/wA="),
    ("bytearray", bytearray(b"ab"), "YWI="),
    ("memoryview", memoryview(b"ab"), "YWI="),
    ("set", {7}, [7]),
    ("frozenset", frozenset(["x"]), ["x"]),
    ("tuple", (1, "a"), [1, "a"]),
    ("named tuple", Pair(1, 2), [1, 2]),
    ("deque", deque([1, 2]), [1, 2]),
    ("dict views", {"a": 1}.keys(), ["a"]),
    ("ordered dict", OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    ("other keys", {1: "a", 1.5: "b", None: "c"}, {"1": "a", "1.5": "b", "null": "c"}),
    ("bool keys", {True: 1, False: 0}, {"true": 1, "false": 0}),
    ("tuple keys", {(1, 2): 3}, {"(1, 2)": 3}),
    ("numpy keys", {np.int64(4): 5}, {"4": 5}),
    ("enum", Color.RED, "red"),
    ("enum of a tuple", Color.ODD, [1, "x"]),
    ("int enum", Level.LOW, 1),
    ("dataclass", Record("n", {1}), {"name": "n", "inner": [1]}),
    ("pydantic", Model(), {"a": 1, "when": "2026-01-02"}),
    ("chz", Config(), {"x": 3}),
    ("numpy array", np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    ("numpy nan", np.array([1.0, np.nan]), [1.0, None]),
    ("numpy scalars", [np.float32(0.5), np.float64(1.5), np.int8(3), np.bool_(True)],
     [0.5, 1.5, 3, True]),
    ("numpy text", np.str_("x"), "x"),
    ("numpy objects", np.array([{1}, None], dtype=object), [[1], None]),
    ("subclasses", [Text("s"), Whole(4), Real(0.5)], ["s", 4, 0.5]),
    ("datetime", datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC), "2026-01-02T03:00:00Z"),
    ("date", datetime.date(2026, 1, 2), "2026-01-02"),
    ("timedelta", datetime.timedelta(seconds=90), "PT90S"),
    ("decimal", decimal.Decimal("1.10"), "1.10"),
    ("uuid", uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    ("path", pathlib.PurePosixPath("/a/b"), "/a/b"),
    ("exception", ValueError("bad"), {"type": "ValueError", "message": "bad"}),
    ("class", Model, f"{__name__}:Model"),
    ("function", some_function, f"{__name__}:some_function"),
    ("complex", 1 + 2j, "(1+2j)"),
    ("range", range(3), "range(0, 3)"),
    ("ellipsis", ..., "Ellipsis"),
    ("repr raises", ReprRaises(), "<ReprRaises that cannot be encoded: RuntimeError>"),
    ("dump raises", DumpRaises(), "<DumpRaises that cannot be encoded: RuntimeError>"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), [pytest.param(v, e, id=n) for n, v, e in EXACT])
def test_each_kind_has_its_encoding(value: Any, expected: Any) -> None:
    assert json.loads(encode(value)) == expected


@pytest.mark.parametrize(("value", "expected"), [pytest.param(v, e, id=n) for n, v, e in EXACT])
def test_a_neighbor_that_needs_the_slow_path_changes_nothing(value: Any, expected: Any) -> None:
    assert json.loads(encode([value, "\ud800"])) == [expected, "\\ud800"]


def test_cycles_and_depth_are_cut() -> None:
    cycle: list[Any] = [1]
    cycle.append({"again": cycle})
    assert json.loads(encode(cycle)) == [1, {"again": "<cycle>"}]
    deep: Any = "bottom"
    for _ in range(5000):
        deep = [deep]
    found, depth = json.loads(encode(deep)), 0
    while isinstance(found, list):
        found, depth = found[0], depth + 1
    assert (found, depth) == ("<nested too deep>", MAX_DEPTH)


def test_a_shared_value_is_no_cycle() -> None:
    shared = ["\ud800"]
    assert json.loads(encode([shared, shared])) == [["\\ud800"], ["\\ud800"]]


def test_a_generator_is_not_consumed() -> None:
    numbers = (n for n in range(3))
    assert "generator" in json.loads(encode(numbers))
    assert list(numbers) == [0, 1, 2]


def test_a_long_repr_is_cut() -> None:
    class Long:
        def __repr__(self) -> str:
            return "x" * 1_000_000

    assert len(json.loads(encode(Long()))) < MAX_REPR + 100


def test_numpy_types_without_python_equivalent_do_not_loop() -> None:
    assert isinstance(json.loads(encode(np.longdouble(1.5))), (str, float))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.characters(categories=["Cs"]) | st.complex_numbers() | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.none(), inner)
    | st.frozensets(st.integers()),
    max_leaves=20,
)  # fmt: skip


@given(json_values)
def test_anything_becomes_one_line_of_strict_json(value: Any) -> None:
    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is not JSON")

    line = encode(value)
    assert b"\n" not in line
    json.loads(line.decode("utf-8"), parse_constant=refuse)
