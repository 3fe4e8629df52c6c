"""`python -m nanoeval.bin.sqlite`: look into a state file, without changing it."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Iterator

from nanoeval_core.errors import ConfigError
from nanoeval_runner.state_files import connect

from nanoeval_cli._run_sets import find_state_file

WELCOME = """{path}, read-only. End statements with ';', leave with Ctrl-D. Try:
  select state, count(*) from task group by state;
  select name, done, total, prompt_tokens from eval;
  select * from lease;
Tables and views: {tables}
"""
_CELL = 60  # characters of a value that are shown


async def sqlite(run_set_id: str) -> None:
    """Open a read-only SQL prompt on a run set."""
    await main(run_set_id=run_set_id)


async def main(run_set_id: str | None = None, query: str | None = None) -> None:
    """Open a read-only SQL prompt on a run set (the newest by default), or run one query.

    The tables that matter are `eval`, `task`, `executor` and `metadata`.
    """
    path = find_state_file(run_set_id)
    with contextlib.closing(connect(path, read_only=True)) as connection:
        if query is not None:
            try:
                _print_rows(connection.execute(query))
            except sqlite3.Error as error:
                raise ConfigError(f"query={query!r}: {error}") from error
            return
        tables = connection.execute(
            "select name from sqlite_schema where type in ('table', 'view') "
            "and name not like 'sqlite_%'"
        )
        names = ", ".join(sorted(name for (name,) in tables))
        sys.stdout.write(WELCOME.format(path=path, tables=names))
        for statement in _statements():
            try:
                _print_rows(connection.execute(statement))
            except sqlite3.Error as error:
                sys.stdout.write(f"{error}\n")


def _statements() -> Iterator[str]:
    """Yield what is typed, a whole statement at a time."""
    typed = ""
    while True:
        try:
            typed += input("sqlite> " if not typed else "   ...> ") + "\n"
        except EOFError:
            return
        if sqlite3.complete_statement(typed):
            yield typed
            typed = ""


def _print_rows(cursor: sqlite3.Cursor) -> None:
    if cursor.description is None:
        return
    rows = [[column[0] for column in cursor.description]]
    rows += [[_cell(value) for value in row] for row in cursor]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def _cell(value: object) -> str:
    text = f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


__all__ = ["main", "sqlite"]
