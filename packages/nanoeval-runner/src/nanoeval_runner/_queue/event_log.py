"""Events that wait in the state file, or next to it, until the driver has recorded them.

What tasks record may be a hundred times as long as what they return. In the state file it would be
written to the log, copied to its pages, read from there and deleted page by page, all under the
write lock. So a process of a pool writes large events to a file named after their row, before the
transaction commits; the driver removes it once they are recorded.

Only on a memory file system: there, what a process has written outlives it, and a power cut takes
all. On a disk a power cut could keep the transaction and lose the file.
"""

from __future__ import annotations

import os
import pickle
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nanoeval_core.errors import StateError

from nanoeval_runner._queue import sql
from nanoeval_runner._queue.connection import transaction
from nanoeval_runner._queue.paths import open_private

SMALLEST = 16_384
"""Bytes: shorter events cost least in the state file."""

_SUFFIX = ".events"

copying = threading.Lock()
"""Held while a state file is copied: the copy needs the files that its rows stand for."""


def log_events(
    connection: sqlite3.Connection, eval_id: int, events: list[bytes], folder: Path | None
) -> None:
    """Log what an eval's attempts recorded.

    Args:
        folder: where large events go, None if they belong in the state file.
    """
    blob = pickle.dumps(events, pickle.HIGHEST_PROTOCOL)
    if folder is None or len(blob) < SMALLEST:
        connection.execute(sql.LOG_EVENTS, (eval_id, blob))
        return
    seq = connection.execute(sql.LOG_EVENTS, (eval_id, b"")).lastrowid
    try:
        # Over what a transaction that was not committed may have left, longer or shorter.
        with os.fdopen(open_private(folder / f"{seq}{_SUFFIX}"), "wb") as file:
            file.write(blob)
    except OSError:  # no room: the state file has the words for that, if it has none either
        connection.execute(sql.SET_EVENTS, (blob, seq))


def _read(path: Path, offset: int = 0, length: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    except FileNotFoundError as error:
        raise StateError(
            f"{path}: events that were to be recorded are gone: if the state file was moved, move "
            f"the folder {path.parent.name} with it and resume again"
        ) from error


def read_events(
    connection: sqlite3.Connection, folder: Path, eval_id: int, after: int, limit: int
) -> tuple[int, list[bytes]]:
    """Return the events of up to `limit` commits after `after`, and the number of the last.

    Raises:
        StateError: they are gone from `folder`, where large ones are.
    """
    chunks: list[Any] = []
    for seq, blob in connection.execute(sql.READ_EVENT_LOG, (eval_id, after, limit)):
        chunks += pickle.loads(blob or _read(folder / f"{seq}{_SUFFIX}"))
        after = seq
    return after, chunks


def events_recorded(
    connection: sqlite3.Connection, folder: Path, eval_id: int, position: str, up_to: int
) -> None:
    """Store that the record now ends at `position`, and delete the events up to there."""
    with transaction(connection):
        connection.execute(sql.SET_RECORD_POSITION, (position, eval_id))
        connection.execute(sql.DELETE_EVENTS, (eval_id, up_to))
    remove_recorded(connection, folder)


def remove_recorded(connection: sqlite3.Connection, folder: Path) -> None:
    """Remove the files of events that no row stands for any more."""
    if not copying.acquire(blocking=False):
        return  # the next look will
    try:
        paths = [path for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal()]
        if found := {int(path.stem): path for path in paths}:
            # Rows beyond the last may be about to be committed, the others never come again.
            (last,) = connection.execute(sql.LAST_EVENT_SEQ).fetchone()
            waiting = {seq for (seq,) in connection.execute(sql.EVENTS_IN_FILES)}
            for seq in found.keys() - waiting:
                if seq <= last:
                    found[seq].unlink()
    finally:
        copying.release()


def fill_in(copy: sqlite3.Connection, folder: Path, rows: Iterable[tuple[int]]) -> None:
    """Put the events themselves into rows of a copy that was made while `copying` was held."""
    for (seq,) in rows:
        copy.execute(sql.SET_EVENTS, (_read(folder / f"{seq}{_SUFFIX}"), seq))
    copy.commit()


def take_in_segments(connection: sqlite3.Connection, folder: Path) -> None:
    """Put into their rows the events that an earlier version has in `name:offset:length`."""
    if connection.execute(sql.HAS_SEGMENTS).fetchone()[0]:
        with transaction(connection):
            for seq, place in connection.execute(sql.EVENTS_IN_SEGMENTS).fetchall():
                name, offset, length = place.rsplit(":", 2)
                events = _read(folder / name, int(offset), int(length))
                connection.execute(sql.TAKE_IN_SEGMENT, (events, seq))
