"""Every statement on the index of a record finds its rows by a key, but those said here to scan."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator

import pytest
from nanoeval_monitor import _index_sql as sql

NOT_QUERIES = {"SCHEMA", "SORTED", "PRAGMAS", "SEARCH_SCHEMA", "SEARCH_MERGES"}
NOT_QUERIES |= {"COMPILE_OPTIONS", "BEGIN"}
PARTS = {"BY_VERDICT", "BY_FIELD", "BY_TEXT"}
STATEMENTS = {
    name: value
    for name, value in vars(sql).items()
    if isinstance(value, str) and name.isupper() and not name.startswith("_")
}
SCANS = {
    "ALL_METADATA": "a handful of rows",
    "COUNT_ERRORS": "a partial index that holds errors alone",
    "COUNT_VERDICTS": "what all attempts came to",
    "ERROR_KINDS": "a partial index that holds errors alone",
    "FIELDS": "the fields of all attempts, for a summary that is folded",
    "FIELD_VALUES": "a field of all attempts",
    "LENGTHS": "what all attempts came to",
    "PROBABILITIES": "what all attempts came to",
}
"""Statements that read a whole table or index, each with why."""


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(f"{sql.SCHEMA};{sql.SORTED};{sql.SEARCH_SCHEMA}")
        yield connection


def plan(connection: sqlite3.Connection, statement: str) -> list[str]:
    values = [None] * statement.count("?")
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]


def scans(steps: list[str]) -> list[str]:
    return [s for s in steps if re.match(r"SCAN (?!\w+ VIRTUAL TABLE|\(subquery)", s)]


@pytest.mark.parametrize("name", sorted(STATEMENTS.keys() - NOT_QUERIES - PARTS))
def test_no_statement_reads_more_than_it_has_to(connection: sqlite3.Connection, name: str) -> None:
    found = scans(plan(connection, STATEMENTS[name]))
    assert bool(found) == (name in SCANS), found


@pytest.mark.parametrize("name", ["COUNT_ERRORS", "ERROR_KINDS"])
def test_errors_are_read_from_the_index_of_errors(
    connection: sqlite3.Connection, name: str
) -> None:
    (scan,) = scans(plan(connection, STATEMENTS[name]))
    assert scan.endswith("attempt_error")


@pytest.mark.parametrize(
    ("order", "index"),
    [("length", "attempt_reply_chars"), ("prob", "attempt_prob"), ("score", "attempt_score")],
)
@pytest.mark.parametrize("descending", [False, True])
def test_a_page_is_chosen_in_the_order_of_an_index_that_covers_it(
    connection: sqlite3.Connection, order: str, index: str, descending: bool
) -> None:
    steps = plan(connection, sql.page([], order, descending=descending))
    assert scans(steps) == [f"SCAN attempt USING COVERING INDEX {index}"]
    assert "SEARCH attempt USING INTEGER PRIMARY KEY (rowid=?)" in steps


@pytest.mark.parametrize(
    ("condition", "index"),
    [
        (sql.BY_VERDICT, "attempt_verdict (verdict=?)"),
        (sql.VERDICT_FILTERS["lost"], "attempt_verdict (verdict=?)"),
        (sql.VERDICT_FILTERS["error"], "attempt_verdict (verdict=?)"),
        (sql.VERDICT_FILTERS["with errors"], "attempt_error"),
    ],
)
def test_a_filter_reads_what_it_is_for(
    connection: sqlite3.Connection, condition: str, index: str
) -> None:
    steps = plan(connection, sql.page([condition], "order", descending=False))
    assert any(step.endswith(index) for step in steps)
    assert all(step.endswith(index) for step in scans(steps))


def test_a_search_reads_the_attempts_that_it_finds(connection: sqlite3.Connection) -> None:
    assert not scans(plan(connection, sql.page([sql.BY_TEXT], "order", descending=False)))
    assert not scans(plan(connection, sql.count([sql.BY_TEXT])))
