"""Pages of a run's samples, and one sample's whole transcript."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from nanoeval_core.errors import ConfigError
from nanoeval_core.json_values import json_value
from nanoeval_recorder.reading.events import Event
from nanoeval_recorder.reading.reader import unfolded

from nanoeval_monitor import _index_sql as sql
from nanoeval_monitor._attempt_row import AttemptRow
from nanoeval_monitor._record_index import RecordIndex
from nanoeval_monitor._run_summary import field_path
from nanoeval_monitor._search_words import full_text

MAX_PAGE = 500
MAX_ATTEMPTS = 64
MAX_VALUES = 500
LONG_TEXT = 20_000
"""Characters of one text that a transcript has unless all of them are asked for."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SampleQuery:
    """Which attempts, in which order.

    Attributes:
        verdict: one of `nanoeval_core.words.Verdict`, or `with errors`; empty for all.
        field, value: only attempts whose `field` is `value`.
        text: only attempts whose texts hold all these words; the last may be half a word.
        order: one of `index_sql.ORDERS`.
    """

    verdict: str = ""
    field: str = ""
    value: str = ""
    text: str = ""
    order: str = "order"
    descending: bool = False
    offset: int = 0
    limit: int = 100

    @classmethod
    def from_parameters(cls, given: Mapping[str, str]) -> SampleQuery:
        """Read a URL's parameters.

        Raises:
            ConfigError: one has a value that it cannot have.
        """
        order = given.get("sort", "order")
        if order.lstrip("-") not in sql.ORDERS:
            raise ConfigError(f"sort={order!r}: choose one of {', '.join(sql.ORDERS)}")
        numbers = {}
        for name, default in (("offset", 0), ("limit", 100)):
            text = given.get(name, str(default))
            if not text.isdecimal() or len(text) > 12:
                raise ConfigError(f"{name}={text!r}: give a whole number that is not negative")
            numbers[name] = int(text)
        texts = {name: given.get(name, "") for name in ("verdict", "field", "value")}
        return cls(
            **texts,
            text=given.get("q", ""),
            order=order.lstrip("-"),
            descending=order.startswith("-"),
            offset=numbers["offset"],
            limit=max(1, min(MAX_PAGE, numbers["limit"])),
        )


def find_samples(index: RecordIndex, query: SampleQuery) -> dict[str, Any]:
    """Return a page of rows, the `total` in all, and whether all of the record was looked at."""
    match = full_text(query.text)
    progress = index.progress()
    conditions, parameters = _conditions(query, match)
    if match and not progress["searchable"]:  # there may be no table for it yet
        conditions, parameters = ["0"], []
    with index.reading() as connection:
        total = connection.execute(sql.count(conditions), parameters).fetchone()[0]
        statement = sql.page(conditions, query.order, descending=query.descending)
        rows = connection.execute(statement, (*parameters, query.limit, query.offset))
        found = [_shown(row) for row in rows]
    return {
        "rows": found,
        "total": total,
        "offset": query.offset,
        "searched": not match
        or (progress["complete"] and progress["searchable"] == progress["attempts"]),
        "index": progress,
    }


def _conditions(query: SampleQuery, match: str) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    parameters: list[Any] = []
    if query.verdict in sql.VERDICT_FILTERS:
        conditions.append(sql.VERDICT_FILTERS[query.verdict])
    elif query.verdict:
        conditions.append(sql.BY_VERDICT)
        parameters.append(query.verdict)
    if query.field and '"' not in query.field:
        conditions.append(sql.BY_FIELD)
        parameters += [field_path(query.field), query.value]
    if match:
        conditions.append(sql.BY_TEXT)
        parameters.append(match)
    elif query.text.strip():
        conditions.append("0")  # nothing but punctuation: no word can match
    return conditions, parameters


def transcript(index: RecordIndex, sample_id: str, *, whole: bool = False) -> dict[str, Any]:
    """Return all attempts at one question, each with all its events.

    Raises:
        KeyError: the record has no such question (yet).
    """
    with index.reading() as connection:
        rows = connection.execute(sql.SPANS_OF_SAMPLE, (sample_id, MAX_ATTEMPTS)).fetchall()
        total = connection.execute(sql.COUNT_OF_SAMPLE, (sample_id,)).fetchone()[0]
    if not rows:
        raise KeyError(sample_id)
    events = index.lines.events([row[-1] for row in rows])
    limit = None if whole else LONG_TEXT
    attempts = [
        {**_shown(row), "events": [_event(event, limit) for event in unfolded(found)]}
        for row, found in zip(rows, events, strict=True)
    ]
    return {"sample_id": sample_id, "total": total, "attempts": attempts}


def field_values(index: RecordIndex, name: str) -> list[list[Any]]:
    """Return the most frequent values of a field, each with how many attempts have it."""
    with index.reading() as connection:
        return [list(row) for row in connection.execute(sql.FIELD_VALUES, (name, MAX_VALUES))]


def _shown(row: tuple[Any, ...]) -> dict[str, Any]:
    """Return a row of the index as the page gets it."""
    shown = dict(zip(("id", *AttemptRow._fields), row, strict=False))
    return {**shown, "fields": json.loads(shown["fields"])}


def _event(event: Event, limit: int | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": event.type,
        "at": event.created_at,
        "data": _cut(json_value(event.data), limit),
    }
    if event.extra:
        found["extra"] = _cut(json_value(event.extra), limit)
    return found


def _cut(value: Any, limit: int | None) -> Any:
    """Return `value` with long texts cut to `limit` characters, each saying how long it was."""
    if isinstance(value, str):
        if limit is None or len(value) <= limit or value.startswith("data:image/"):
            return value
        return {"$cut": value[:limit], "$length": len(value)}
    if isinstance(value, list):
        return [_cut(one, limit) for one in value]
    if isinstance(value, dict):
        return {key: _cut(one, limit) for key, one in value.items()}
    return value
