"""A record as a table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from nanoeval_core.errors import RecorderError

from nanoeval_recorder.reading.events import Event, Match, RunStarted, Sampling
from nanoeval_recorder.reading.reader import read_record, record_files
from nanoeval_recorder.reading.sample import RecordedSample, samples_of
from nanoeval_recorder.reading.scores import attempt_scores, is_scalar

__all__ = ["COLUMNS", "columns", "csv_cell", "rows", "to_dataframe", "write_parquet"]

COLUMNS: dict[str, type] = {
    "run_id": str,
    "eval_name": str,
    "model": str,
    "sample_id": str,
    "attempt": int,
    "retry": int,
    "correct": bool,
    "expected": str,
    "picked": str,
    "prob_correct": float,
    "prompt": str,
    "sampled": str,
    "samplings": int,
    "error": str,
}
"""The columns that every table has, with their types."""
ROWS_A_GROUP = 1_000
"""Rows of a parquet file that are in memory at a time; prompts and replies may be long."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_dataframe(path: str | Path) -> Any:
    """Return the attempts in a record or a folder of records as a table, one row each.

    A polars frame where polars is installed, else a pandas one. Columns: those of `COLUMNS`, with
    `prompt` and `sampled` of the last sampling (its first reply), `samplings` their number and
    `error` the last one's message, and one for each field of the questions' metadata. What is no
    text is given as JSON text.

    Raises:
        RecorderError: neither polars nor pandas is installed.
    """
    library = next(filter(find_spec, ("polars", "pandas")), None)
    if library is None:
        raise RecorderError(
            "to_dataframe needs polars or pandas: `pip install polars` or `pip install pandas`"
        )
    types = columns(path)
    table: dict[str, list[Any]] = {name: [] for name in types}
    for row in rows(path):
        for name, values in table.items():
            values.append(row.get(name))
    frames = import_module(library)
    return frames.DataFrame(table) if library == "pandas" else _polars_frame(frames, table, types)


def columns(path: str | Path) -> dict[str, type]:
    """Return the columns of the table of a record: `COLUMNS`, then the fields of its metadata."""
    found: dict[str, type] = {}
    for one in attempt_scores(path):
        for name, value in _metadata(one.metadata).items():
            if value is not None:
                kind = type(value) if type(value) in (bool, int, float) else str
                known = found.setdefault(name, kind)
                if known is not kind:
                    found[name] = float if {known, kind} == {int, float} else str
    return COLUMNS | found


def rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of `to_dataframe` one by one, without any library for tables."""
    for file in record_files(path):
        started: dict[str, Any] = {}
        for sample in samples_of(_note_spec(read_record(file), started)):
            yield {**started, **_row(sample)}


def csv_cell(value: Any) -> Any:
    """Return `value` as a cell of a table that people open in a spreadsheet: never a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def write_parquet(path: str | Path, output: str | Path) -> None:
    """Write the table of a record as parquet, in row groups: it is never whole in memory.

    Raises:
        RecorderError: polars is not installed.
    """
    try:
        import polars  # noqa: PLC0415  optional
        from polars.io.plugins import register_io_source  # noqa: PLC0415  optional
    except ImportError as error:
        raise RecorderError("writing parquet needs polars: `pip install polars`") from error
    types = columns(path)

    def frames(*_: Any) -> Iterator[Any]:
        found = rows(path)
        while group := list(islice(found, ROWS_A_GROUP)):
            table = {name: [row.get(name) for row in group] for name in types}
            yield _polars_frame(polars, table, types)

    source = register_io_source(frames, schema=polars.Schema(types))
    source.sink_parquet(output, row_group_size=ROWS_A_GROUP)


def _note_spec(events: Iterator[Event], noted: dict[str, Any]) -> Iterator[Event]:
    noted.update(eval_name=None, model=None)
    for event in events:
        if isinstance(event, RunStarted):
            noted.update(eval_name=event.eval_name, model=event.model)
        yield event


def _row(sample: RecordedSample) -> dict[str, Any]:
    match = sample.match or Match()
    samplings = sample.samplings
    last = samplings[-1] if samplings else Sampling()
    correct, probability, metadata = match.correct, match.prob_correct, match.get("metadata")
    return {
        "run_id": sample.run_id,
        "sample_id": sample.sample_id,
        "attempt": sample.attempt,
        "retry": sample.retry,
        "correct": correct if isinstance(correct, bool) else None,
        "expected": _cell(match.expected),
        "picked": _cell(match.picked),
        "prob_correct": probability if isinstance(probability, (int, float)) else None,
        "prompt": _cell(last.prompt),
        "sampled": _cell(last.sampled[0]) if last.sampled else None,
        "samplings": len(samplings),
        "error": _cell(sample.errors[-1].message) if sample.errors else None,
        **_metadata(metadata if isinstance(metadata, dict) else {}),
    }


def _metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return metadata by column; one called like another gets `metadata_` before its name."""
    return {
        f"metadata_{name}" if name in COLUMNS else name: value if is_scalar(value) else _cell(value)
        for name, value in metadata.items()
    }


def _cell(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _polars_frame(polars: Any, table: dict[str, list[Any]], types: dict[str, type]) -> Any:
    typed = {
        name: [str(value) if types[name] is str and value is not None else value for value in cells]
        for name, cells in table.items()
    }
    return polars.DataFrame(typed, schema=types, strict=False)
