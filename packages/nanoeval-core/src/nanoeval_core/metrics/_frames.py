"""Tables read without depending on the library that made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def read_columns(
    frame: Any, *, name: str, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, list[Any]]:
    """Return columns of `frame` as lists of plain Python values, missing values as None.

    Args:
        frame: a pandas or polars DataFrame or LazyFrame (or anything with `columns` and
            `frame[column]`), a mapping of column name to values, or a sequence of rows that are
            mappings. Names of a pandas index count as columns.
        name: what to call the frame in errors.
        required: columns that must be there.
        optional: columns that may be missing: all their values are then.

    Raises:
        TypeError: `frame` is no table.
        ValueError: a required column is missing, or columns differ in length.
    """
    if type(frame).__name__ == "LazyFrame":  # polars'
        frame = frame.collect()
    index_names = getattr(getattr(frame, "index", None), "names", None) or ()
    if hasattr(frame, "reset_index") and any(label is not None for label in index_names):
        frame = frame.reset_index()
    if isinstance(frame, Mapping):
        present, column = list(frame), frame.__getitem__
    elif hasattr(frame, "columns"):
        present, column = [str(label) for label in frame.columns], frame.__getitem__
    elif isinstance(frame, Sequence) and all(isinstance(row, Mapping) for row in frame):
        rows = frame
        present = list(dict.fromkeys(label for row in rows for label in row)) or [*required]

        def column(label: str) -> list[Any]:
            return [row.get(label) for row in rows]
    else:
        raise TypeError(
            f"{name} is a {type(frame).__name__}: give a pandas or polars DataFrame, a mapping of "
            "columns, or a list of rows"
        )
    missing = [label for label in required if label not in present]
    if missing:
        raise ValueError(f"{name} lacks the column(s) {missing}; it has {present}")
    wanted = [*required, *(label for label in optional if label in present)]
    columns = {label: _plain(column(label)) for label in wanted}
    lengths = {label: len(values) for label, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the columns of {name} differ in length: {lengths}")
    empty = [None] * lengths[wanted[0]]
    return {**dict.fromkeys(optional, empty), **columns}


def _plain(values: Any) -> list[Any]:
    for method in ("to_list", "tolist"):  # pandas and polars have the first, numpy the second
        if hasattr(values, method):
            values = getattr(values, method)()
            break
    return [None if _is_missing(value) else value for value in values]


def _is_missing(value: Any) -> bool:
    # NaN differs from itself; pandas.NA is neither equal nor unequal to anything.
    return value is None or type(value).__name__ in ("NAType", "NaTType") or bool(value != value)
