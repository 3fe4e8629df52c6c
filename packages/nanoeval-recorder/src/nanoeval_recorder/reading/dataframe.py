"""A record as a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nanoeval_core.errors import RecorderError

from nanoeval_recorder.reading.events import Event, RunStarted
from nanoeval_recorder.reading.reader import read_record, record_files
from nanoeval_recorder.reading.sample import RecordedSample, samples_of

__all__ = ["COLUMNS", "rows", "to_dataframe"]


def to_dataframe(path: str | Path) -> Any:
    """The attempts in a record or a folder of records as a table, one row each.

    A polars frame where polars is installed, else a pandas one. Columns: `run_id`, `eval_name`,
    `model`, `sample_id`, `attempt`, `retry`, `correct`, `expected`, `picked`, `prob_correct`,
    `prompt` and `sampled` (of the last sampling, its first reply), `samplings` (their number) and
    `error` (the last one's message). What is no text is given as JSON text.

    Raises:
        RecorderError: neither polars nor pandas is installed.
    """
    make = _frame_maker()
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for row in rows(path):
        for name, value in row.items():
            columns[name].append(value)
    return make(columns)


def rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """The rows of `to_dataframe` one by one, without any library for tables."""
    for file in record_files(path):
        started: dict[str, Any] = {}
        for sample in samples_of(_note_spec(read_record(file), started)):
            yield {**started, **_row(sample)}


COLUMNS = {
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


def _note_spec(events: Iterator[Event], noted: dict[str, Any]) -> Iterator[Event]:
    noted.update(eval_name=None, model=None)
    for event in events:
        if isinstance(event, RunStarted):
            noted.update(eval_name=event.eval_name, model=event.model)
        yield event


def _row(sample: RecordedSample) -> dict[str, Any]:
    match = sample.match
    samplings = sample.samplings
    last = samplings[-1] if samplings else None
    correct = match.correct if match else None
    return {
        "run_id": sample.run_id,
        "sample_id": sample.sample_id,
        "attempt": sample.attempt,
        "retry": sample.retry,
        "correct": correct if isinstance(correct, bool) else None,
        "expected": _cell(match.expected) if match else None,
        "picked": _cell(match.picked) if match else None,
        "prob_correct": match.prob_correct if match else None,
        "prompt": _cell(last.prompt) if last else None,
        "sampled": _cell(last.sampled[0]) if last and last.sampled else None,
        "samplings": len(samplings),
        "error": sample.errors[-1].message if sample.errors else None,
    }


def _cell(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _frame_maker() -> Callable[[dict[str, list[Any]]], Any]:
    try:
        import polars  # noqa: PLC0415  optional
    except ImportError:
        pass
    else:
        kinds = {str: polars.String, int: polars.Int64, bool: polars.Boolean, float: polars.Float64}
        schema = {name: kinds[kind] for name, kind in COLUMNS.items()}
        return lambda rows: polars.DataFrame(rows, schema=schema, strict=False)
    try:
        import pandas  # noqa: PLC0415  optional
    except ImportError as error:
        raise RecorderError(
            "to_dataframe needs polars or pandas: `pip install polars` or `pip install pandas`"
        ) from error
    make: Callable[[dict[str, list[Any]]], Any] = pandas.DataFrame
    return make
