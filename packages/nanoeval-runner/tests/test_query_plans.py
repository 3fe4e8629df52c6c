"""Every statement on state files finds its rows by an index, but those said here to scan."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nanoeval_runner._queue import sql, transactions
from nanoeval_runner._queue.connection import connect
from nanoeval_runner._queue.paths import create_private

NOT_QUERIES = {
    "SCHEMA",
    "SYNC_WAL",
    "NO_SYNC",
    "ONE_FILE",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "QUICK_CHECK",
    # Of a column that files of this version do not have.
    "HAS_SEGMENTS",
    "EVENTS_IN_SEGMENTS",
    "TAKE_IN_SEGMENT",
}
STATEMENTS = {
    name: value
    for name, value in vars(sql).items()
    if isinstance(value, str) and name.isupper() and not name.startswith("_")
} | {"insert_tasks": sql.INSERT_TASKS[4], "insert_results": sql.INSERT_RESULTS[4]}

SCANS = {
    "ALL_LEASE_SPANS": "all of them are asked for, once a resume",
    "COUNT_TABLES": "a file has a dozen tables",
    "EVENTS_IN_FILES": "what the driver has yet to record, when it looks for files to remove",
    "LIST_EVALS": "all of them are asked for",
    "LIST_EXECUTORS": "all of them are asked for",
    "RESET_WAITING": "what waits, once a resume",
    "TOTAL_LEASED": "a sum over the evals of a run set",
}
"""Statements that read a whole table, each with why that costs little."""

NO_TABLE = re.compile(r"SCAN (asked VIRTUAL TABLE|\d+ CONSTANT ROWS|\(subquery)")
PARTIAL = re.compile(r"SCAN \w+ USING INDEX \w+_running$")
"""Partial indexes that hold just what is asked for."""


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path: Path = tmp_path_factory.mktemp("state") / "set.db"
    create_private(path)
    with contextlib.closing(connect(path)) as connection:
        transactions.create_schema(connection, "set")
        yield connection


def plan(connection: sqlite3.Connection, statement: str) -> list[str]:
    """What sqlite says it will do, whatever the statement's parameters are."""
    named = re.findall(r":(\w+)", statement)
    values: Any = dict.fromkeys(named) if named else [None] * statement.count("?")
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]


def scans(steps: list[str]) -> list[str]:
    found = [step for step in steps if step.startswith(("SCAN", "USE TEMP"))]
    return [step for step in found if not (NO_TABLE.match(step) or PARTIAL.match(step))]


@pytest.mark.parametrize("name", sorted(STATEMENTS.keys() - NOT_QUERIES))
def test_no_statement_reads_a_table_it_does_not_have_to(
    connection: sqlite3.Connection, name: str
) -> None:
    found = [s for s in scans(plan(connection, STATEMENTS[name])) if "FOR ORDER BY" not in s]
    assert bool(found) == (name in SCANS), found


def test_only_lists_of_executors_are_sorted(connection: sqlite3.Connection) -> None:
    names = STATEMENTS.keys() - NOT_QUERIES
    is_sorted = {
        n for n in names if any("FOR ORDER BY" in s for s in plan(connection, STATEMENTS[n]))
    }
    assert is_sorted == {"SILENT_EXECUTORS"}


@pytest.mark.parametrize("name", ["READ_EVENT_LOG", "DELETE_EVENTS"])
def test_the_events_of_one_eval_are_found_among_those_of_others(
    connection: sqlite3.Connection, name: str
) -> None:
    """By the number alone they would be found too, and those of all other evals be read."""
    assert "INDEX event_log_eval (eval_id=? AND seq" in str(plan(connection, STATEMENTS[name]))


def test_every_index_is_used(connection: sqlite3.Connection) -> None:
    made = re.findall(r"CREATE INDEX (\w+)", sql.SCHEMA)
    plans = str([plan(connection, STATEMENTS[name]) for name in STATEMENTS.keys() - NOT_QUERIES])
    assert len(made) > 4
    assert not [index for index in made if index not in plans]


def test_the_views_look_up_what_belongs_to_a_task(connection: sqlite3.Connection) -> None:
    assert scans(plan(connection, "SELECT * FROM task")) == ["SCAN data"]
    assert scans(plan(connection, "SELECT * FROM task WHERE id = 7")) == []
    assert scans(plan(connection, "SELECT * FROM lease")) == ["SCAN span"]


def test_all_sql_is_in_one_module() -> None:
    """Statements elsewhere would have no plan that is tested."""
    verbs = re.compile(r"[\"'](SELECT|INSERT|UPDATE|DELETE|CREATE|PRAGMA|BEGIN|COMMIT)\b")
    source = Path(sql.__file__).parents[1]
    found = {file.name for file in source.rglob("*.py") if verbs.search(file.read_text())}
    assert found == {"sql.py"}
