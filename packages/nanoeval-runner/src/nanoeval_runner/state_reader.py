"""A state file as others may look at it: read-only, without holding up who writes it.

In WAL mode readers and the writer do not wait for each other. Every method is one short read.
"""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self

from nanoeval_runner._queue import paths, sql, transactions
from nanoeval_runner._queue.rows import EvalRow, ExecutorRow, FailedAttempt
from nanoeval_runner._queue.store import connect


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """A run set at one moment. `global_limit` bounds the tasks in flight of all its evals."""

    run_set_id: str
    evals: list[EvalRow]
    executors: list[ExecutorRow]
    global_limit: int | None


def state_files(folder: Path | None = None) -> list[Path]:
    """The state files in `folder`, by default that of this user's runs; newest first."""
    folder = paths.state_dir() if folder is None else folder
    found = [file for file in folder.glob(f"*{paths.SUFFIX}") if file.is_file()]
    return sorted(found, key=lambda file: -file.stat().st_mtime)


class StateReader:
    """One state file, read. Use it with `with`, on one thread at a time.

    Raises:
        StateError: another user owns the file, or its schema is another version's.
    """

    def __init__(self, file: Path) -> None:
        paths.check_owner(file)
        self.file = file
        self._connection = connect(file, read_only=True)
        try:
            version = transactions.get_metadata(self._connection, "schema_version")
        except sqlite3.DatabaseError:
            version = None
        if version != sql.SCHEMA_VERSION:
            self._connection.close()
            raise transactions.other_version(str(file), version)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def snapshot(self) -> Snapshot:
        limit = transactions.get_metadata(self._connection, "global_limit")
        run_set_id = transactions.get_metadata(self._connection, "run_set_id")
        return Snapshot(
            run_set_id=str(run_set_id),
            evals=transactions.list_evals(self._connection),
            executors=transactions.list_executors(self._connection),
            global_limit=limit if isinstance(limit, int) else None,
        )

    def durations(self, row: EvalRow, *, since: float, span: int) -> list[float]:
        """Seconds that attempts of an eval took which ended after `since` (wall-clock).

        Looks at the last `span` tasks that were handed out, beside those in flight.
        """
        (last,) = self._connection.execute(sql.FIRST_WAITING, (row.id,)).fetchone()
        if last is None:
            (last,) = self._connection.execute(sql.LAST_TASK).fetchone()
        first = (last or 0) - row.leased - span
        found = self._connection.execute(sql.FINISHED_AMONG, (first, last, row.id, since))
        return [seconds for (seconds,) in found]

    def failures(self, *, after: tuple[float, int], limit: int) -> list[FailedAttempt]:
        """Up to `limit` attempts that ended in a system error, in the order of their ends.

        Args:
            after: `finished_at` and `task_id` of the last one seen; (0.0, 0) for the first.
            limit: how many at most.
        """
        rows = self._connection.execute(sql.FAILURES_AFTER, (*after, limit))
        return [FailedAttempt(*row) for row in rows]


def set_concurrency(file: Path, eval_id: int | None, limit: int | None) -> None:
    """Change the limit of one eval, or the global one, of a run set that may be going.

    Raises:
        StateError: another user owns the file.
        ValueError: the limit is no positive number.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"concurrency {limit!r}: give a positive number, or None")
    paths.check_owner(file)
    connection = connect(file)
    try:
        transactions.set_concurrency(connection, eval_id, limit)
    finally:
        connection.close()
