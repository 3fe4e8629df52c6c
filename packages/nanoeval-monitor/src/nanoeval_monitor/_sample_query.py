"""Pages of a run's samples, and one sample's whole transcript."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nanoeval_core.errors import ConfigError
from nanoeval_core.json_values import json_value
from nanoeval_recorder.reading.reader import unfolded

from nanoeval_monitor import _index_sql as sql
from nanoeval_monitor._attempt_row import AttemptRow
from nanoeval_monitor._record_index import RecordIndex
from nanoeval_monitor._record_lines import events_at
from nanoeval_monitor._run_summary import field_path
from nanoeval_monitor._search_words import full_text

MAX_PAGE = 500
MAX_ATTEMPTS = 64
MAX_VALUES = 500
LONG_TEXT = 20_000
"""Characters of one text that a transcript has unless all of them are asked for."""


def find_samples(index: RecordIndex, asked: Mapping[str, str]) -> dict[str, Any]:
    """Return a page of rows, the `total` in all, and whether all of the record was looked at.

    Args:
        index: of the record.
        asked: a URL's parameters. `verdict`: one of `nanoeval_core.words.AttemptState`, or
            `with errors`; `field` and `value`: only attempts whose `field` is `value`; `q`: only
            attempts whose texts hold all these words, the last of which may be half a word;
            `sort`: one of `_index_sql.ORDERS`, with a `-` before it the other way; `offset` and
            `limit`: which rows.

    Raises:
        ConfigError: a parameter has a value that it cannot have.
    """
    sort = asked.get("sort", "order")
    if sort.lstrip("-") not in sql.ORDERS:
        raise ConfigError(f"sort={sort!r}: choose one of {', '.join(sql.ORDERS)}")
    offset = _whole_number("offset", asked.get("offset", "0"))
    limit = max(1, min(MAX_PAGE, _whole_number("limit", asked.get("limit", "100"))))
    match = full_text(asked.get("q", ""))
    progress = index.progress()
    conditions, parameters = _conditions(asked, match)
    if match and not progress["searchable"]:  # there may be no table for it yet
        conditions, parameters = ["0"], []
    with index.reading() as connection:
        total = connection.execute(sql.count(conditions), parameters).fetchone()[0]
        statement = sql.page(conditions, sort.lstrip("-"), descending=sort.startswith("-"))
        found = connection.execute(statement, (*parameters, limit, offset)).fetchall()
    is_searched = progress["complete"] and progress["searchable"] == progress["attempts"]
    return {
        "rows": [_shown(row) for row in found],
        "total": total,
        "searched": not match or is_searched,
        "index": progress,
    }


def _whole_number(name: str, text: str) -> int:
    if not text.isdecimal() or len(text) > 12:
        raise ConfigError(f"{name}={text!r}: give a whole number that is not negative")
    return int(text)


def _conditions(asked: Mapping[str, str], match: str) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    parameters: list[Any] = []
    verdict, field = asked.get("verdict", ""), asked.get("field", "")
    if verdict in sql.VERDICT_FILTERS:
        conditions.append(sql.VERDICT_FILTERS[verdict])
    elif verdict:
        conditions.append(sql.BY_VERDICT)
        parameters.append(verdict)
    if field and '"' not in field:
        conditions.append(sql.BY_FIELD)
        parameters += [field_path(field), asked.get("value", "")]
    if match:
        conditions.append(sql.BY_TEXT)
        parameters.append(match)
    elif asked.get("q", "").strip():
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
    events = events_at(index.record, [row[-1] for row in rows])
    limit = None if whole else LONG_TEXT
    attempts = [
        {
            **_shown(row),
            "events": [
                {
                    "type": event.type,
                    "at": event.created_at,
                    "data": _cut(json_value(event.data), limit),
                }
                for event in unfolded(found)
            ],
        }
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
