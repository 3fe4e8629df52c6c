"""A connection to a state file: waiting for one's turn to write, and transactions."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from nanoeval_runner._queue import sql


class QueueConnection(sqlite3.Connection):
    """A connection whose writers wait for their turn in the kernel.

    sqlite's own busy handler polls with growing sleeps: with many executors on one file, the lock
    is free most of the time while everybody sleeps. A lock on a file beside it wakes the next
    writer at once, and is let go by the system when its holder dies.
    """

    turn_file: int | None = None

    def close(self) -> None:
        if self.turn_file is not None:
            os.close(self.turn_file)
            self.turn_file = None
        super().close()


@contextmanager
def turn(connection: sqlite3.Connection) -> Iterator[None]:
    """Wait until no other process or thread of this run set is writing."""
    file = getattr(connection, "turn_file", None)
    if file is None:
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Take the write lock, then commit, or roll back on any error."""
    with turn(connection):
        connection.execute(sql.BEGIN)
        try:
            yield
            connection.execute(sql.COMMIT)
        except BaseException:
            # A full disk may already have rolled back.
            if connection.in_transaction:
                connection.execute(sql.ROLLBACK)
            raise


def get_metadata(connection: sqlite3.Connection, key: str) -> object:
    row = connection.execute(sql.GET_METADATA, (key,)).fetchone()
    return None if row is None else row[0]


def in_chunks(rows: int) -> Iterator[tuple[int, int]]:
    """`rows` cut into sizes of `sql.CHUNKS`: (size, first row) pairs."""
    position = 0
    for size in sql.CHUNKS:
        while rows - position >= size:
            yield size, position
            position += size
