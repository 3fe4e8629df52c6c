"""What there is to say about one recorded run, from its index."""

from __future__ import annotations

import dataclasses
import itertools
import math
import sqlite3
from collections.abc import Iterator
from typing import Any

from nanoeval_core.json_values import json_value
from nanoeval_core.metrics.calibration import calibration
from nanoeval_core.metrics.headline import headline, score_names

from nanoeval_monitor import _index_sql as sql
from nanoeval_monitor._record_index import RecordIndex
from nanoeval_monitor._score_totals import ScoreTally, estimate

MAX_GROUPS = 60
LENGTH_BINS = 12
BIG = 10_000
"""Attempts from which on details are computed in the background and kept."""

NO_DETAILS: dict[str, Any] = {
    "details_of": 0,
    "errors": [],
    "groups": {},
    "fields": {},
    "calibration": None,
    "lengths": [],
}


def score_of(index: RecordIndex) -> dict[str, Any]:
    """Return the mean score with its interval, from the counts that the index keeps."""
    with index.reading() as connection:
        return _estimate(connection.execute(sql.TALLIES).fetchall())


def summary_of(index: RecordIndex) -> dict[str, Any]:
    """Return everything the page of a run shows but its samples.

    What takes long to compute comes out of the index when the run is big (see `add_details`):
    `details_of` says of how many attempts it is.
    """
    attempts, details = index.details()
    if attempts < BIG and attempts != details.get("details_of"):
        details = _details(index, attempts)
    with index.reading() as connection:
        verdicts = dict(connection.execute(sql.COUNT_VERDICTS).fetchall())
        errored = connection.execute(sql.COUNT_ERRORS).fetchone()[0]
    return {
        "spec": json_value(index.started()),
        "final_report": json_value(index.final_report()),
        "score": score_of(index),
        "verdicts": verdicts,
        "with_errors": errored,
        **NO_DETAILS,
        **details,
    }


def metrics_of(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the metrics of a summary as the terminal's table has them, the headline first."""
    rows = [_metric(summary, name, name) for name in score_names(summary)]
    groups = summary.get("by")
    for column, values in (groups if isinstance(groups, dict) else {}).items():
        for value, metrics in (values if isinstance(values, dict) else {}).items():
            found = headline(metrics) if isinstance(metrics, dict) else None
            if found is not None:
                row = _metric(metrics, found.name, f"{column}={value}")
                rows.append({**row, "field": column, "value_of_field": value})
    return rows


def _metric(summary: dict[str, Any], name: str, label: str) -> dict[str, Any]:
    found = headline(summary, name)
    assert found is not None  # noqa: S101  `name` is the name of a number
    n = summary.get(f"{name}_n", summary.get("n"))
    return {**found._asdict(), "name": label, "n": n if isinstance(n, int) else None}


def needs_details(index: RecordIndex) -> bool:
    """Return whether a big record has grown so much that its details say little of it."""
    attempts, details = index.details()
    known = details.get("details_of", 0)
    grown = attempts > known if index.final_report() is not None else attempts > 1.2 * known
    return attempts >= BIG and grown


def add_details(index: RecordIndex) -> None:
    """Compute what takes long and keep it in the index, where that is due."""
    if needs_details(index):
        index.put_details(_details(index, index.details()[0]))


def _details(index: RecordIndex, attempts: int) -> dict[str, Any]:
    with index.reading() as connection:
        fields = [row for row in connection.execute(sql.FIELDS) if '"' not in row[0]]
        # Those with several values, each with several attempts.
        grouping = [name for name, n, of in fields if 2 <= n <= MAX_GROUPS and of >= 2 * n]
        return {
            "details_of": attempts,
            "errors": [
                dict(zip(("kind", "count", "attempt_id", "example"), row, strict=True))
                for row in connection.execute(sql.ERROR_KINDS)
            ],
            "groups": {name: list(_groups(connection, name)) for name in grouping},
            "fields": {name: values for name, values, _ in fields},
            "calibration": _calibration(connection),
            "lengths": _lengths(connection),
        }


def _estimate(tallies: list[ScoreTally]) -> dict[str, Any]:
    found = estimate(tallies)
    return {} if found.mean is None else dataclasses.asdict(found)


def _groups(connection: sqlite3.Connection, name: str) -> Iterator[dict[str, Any]]:
    rows = connection.execute(sql.GROUP_TALLIES, (field_path(name),))
    for value, tallies in itertools.groupby(rows, lambda row: row[0]):
        yield {"value": value, **_estimate([tally for _, *tally in tallies])}


def field_path(name: str) -> str:
    """Return where `name` is in the JSON of an attempt's fields."""
    return f'$."{name}"'


def _calibration(connection: sqlite3.Connection) -> dict[str, Any] | None:
    probabilities: dict[str, list[float | None]] = {}
    correct: dict[str, list[bool]] = {}
    for sample_id, prob, is_correct in connection.execute(sql.PROBABILITIES):
        if 0.0 <= prob <= 1.0:
            probabilities.setdefault(sample_id, []).append(prob)
            correct.setdefault(sample_id, []).append(bool(is_correct))
    found = calibration(probabilities, correct)
    return None if found is None else json_value(found.as_dict())


def _lengths(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return the score by length of the reply, in bins of equal ratio."""
    rows: list[tuple[int, float]] = connection.execute(sql.LENGTHS).fetchall()
    if not rows:
        return []
    shortest = max(1, min(length for length, _ in rows))
    longest = max(shortest + 1, *(length for length, _ in rows))
    many = min(LENGTH_BINS, longest - shortest)  # replies of nearly one length need fewer
    step = math.log(longest / shortest) / many
    bins: list[list[float]] = [[] for _ in range(many)]
    for length, score in rows:
        place = int(math.log(max(length, shortest) / shortest) / step)
        bins[min(many - 1, place)].append(score)
    return [
        {
            "low": round(shortest * math.exp(place * step)),
            "high": round(shortest * math.exp((place + 1) * step)),
            "n": len(scores),
            "mean": math.fsum(scores) / len(scores) if scores else None,
        }
        for place, scores in enumerate(bins)
    ]
