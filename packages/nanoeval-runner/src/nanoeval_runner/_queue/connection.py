"""A connection to a state file: its settings, its turn to write, its transactions, its thread."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import aiosqlite

from nanoeval_runner._queue import sql
from nanoeval_runner._queue.paths import on_memory_file_system, open_private

P = ParamSpec("P")
T = TypeVar("T")

BUSY_SECONDS = 60.0
"""How long a transaction waits for the write lock: far longer than any transaction holds it."""


class QueueConnection(sqlite3.Connection):
    """A connection whose writers wait for their turn in the kernel.

    sqlite's own busy handler polls with growing sleeps: with many executors on one file, the lock
    is free most of the time while everybody sleeps. A lock on a file next to it wakes the next
    writer at once, and the system releases it when its holder dies.
    """

    turn_file: int | None = None

    def close(self) -> None:
        if self.turn_file is not None:
            close_lock_file(self.turn_file)
            self.turn_file = None
        super().close()


_lock_files: set[int] = set()
"""What this process may hold locks on: its state files, and the turns to write them."""


def open_lock_file(path: Path) -> int:
    """Open a file to lock; a process that is forked from this one lets go of it.

    The two would share the lock: a child that lives on when its parent is killed would keep it.
    """
    file = open_private(path)
    _lock_files.add(file)
    return file


def close_lock_file(file: int) -> None:
    """Close what `open_lock_file` gave, unless it was open before this process was forked."""
    if file in _lock_files:
        _lock_files.remove(file)
        os.close(file)


def _close_inherited() -> None:
    for file in _lock_files:
        with contextlib.suppress(OSError):
            os.close(file)
    _lock_files.clear()


os.register_at_fork(after_in_child=_close_inherited)


def connect(path: Path, *, read_only: bool = False, at_rest: bool = False) -> sqlite3.Connection:
    """Return a connection with nanoeval's settings to the state file at `path`.

    Args:
        path: the file.
        read_only: it is only read.
        at_rest: and nobody writes it meanwhile: no locks, and no files that readers share.

    Raises:
        sqlite3.OperationalError: there is no such file: one that vanished is never made again.
    """
    mode = "ro&immutable=1" if at_rest else "ro" if read_only else "rw"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,  # opened on one thread and used on another, never on two at once
        cached_statements=128,
        factory=QueueConnection,
    )
    if read_only or at_rest:
        return connection
    try:
        connection.turn_file = open_lock_file(path.with_suffix(".turn"))
        for setting in sql.SETTINGS:
            connection.execute(setting)
        connection.execute(sql.NO_SYNC if on_memory_file_system(path) else sql.SYNC_WAL)
    except BaseException:
        connection.close()
        raise
    return connection


class TransactionThread(aiosqlite.Connection):
    """An aiosqlite connection that runs a whole transaction in one hop to its thread.

    aiosqlite's public methods run one statement each, and a hop costs more than a statement; and
    its thread would keep the interpreter of an interrupted run alive. This is the one place that
    uses names of aiosqlite which are not public: `_execute`, on which its public methods are built,
    and `_thread`. `test_aiosqlite_versions.py` holds them with the oldest and the newest version
    that pyproject.toml allows.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(lambda: connection, iter_chunk_size=64)
        self._state = connection
        self._thread.daemon = True

    async def call(
        self,
        function: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `function(connection, *args, **kwargs)` on the connection's thread."""
        result: T = await self._execute(function, self._state, *args, **kwargs)  # type: ignore[no-untyped-call]
        return result


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Wait for the turn to write, take the write lock, then commit, or roll back on any error."""
    turn = getattr(connection, "turn_file", None)
    if turn is not None:
        fcntl.flock(turn, fcntl.LOCK_EX)
    try:
        connection.execute(sql.BEGIN)
        try:
            yield
            connection.execute(sql.COMMIT)
        except BaseException:
            # A full disk may already have rolled back.
            if connection.in_transaction:
                connection.execute(sql.ROLLBACK)
            raise
    finally:
        if turn is not None:
            fcntl.flock(turn, fcntl.LOCK_UN)


def get_metadata(connection: sqlite3.Connection, key: str) -> object:
    row = connection.execute(sql.GET_METADATA, (key,)).fetchone()
    return None if row is None else row[0]


def insert_rows(
    connection: sqlite3.Connection,
    statements: Mapping[int, str],
    common: Sequence[object],
    rows: Sequence[object],
    width: int,
) -> None:
    """Store `rows`, `width` values each, one row after the other, and what is common to all."""
    position = 0
    for size, statement in statements.items():
        while len(rows) - position >= size * width:
            end = position + size * width
            connection.execute(statement, (*common, *rows[position:end]))
            position = end
