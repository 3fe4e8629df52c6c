"""Events that wait in the state file until the driver has written them to the record."""

from __future__ import annotations

import pickle
import sqlite3
from pathlib import Path

from nanoeval_runner._queue import sql
from nanoeval_runner._queue.connection import transaction
from nanoeval_runner._queue.event_segments import SegmentWriter, read_segment, remove_recorded


def log_events(
    connection: sqlite3.Connection,
    eval_id: int,
    events: list[bytes],
    segments: SegmentWriter | None,
) -> None:
    """Log what an eval's attempts recorded: the events, or where in a segment they are."""
    blob = pickle.dumps(events, pickle.HIGHEST_PROTOCOL)
    segment = None if segments is None else segments.append(blob)
    connection.execute(sql.LOG_EVENTS, (eval_id, blob if segment is None else None, segment))


def has_events(connection: sqlite3.Connection, eval_id: int) -> bool:
    """Return whether logged events of an eval wait to be recorded."""
    return connection.execute(sql.READ_EVENT_LOG, (eval_id, 0, 1)).fetchone() is not None


def read_events(
    connection: sqlite3.Connection, folder: Path, eval_id: int, after: int, limit: int
) -> tuple[int, list[bytes]]:
    """Return the events of up to `limit` commits after `after`, and the number of the last.

    Raises:
        StateError: they are gone from `folder`, where segments are.
    """
    chunks: list[bytes] = []
    for seq, blob, segment in connection.execute(sql.READ_EVENT_LOG, (eval_id, after, limit)):
        chunks += pickle.loads(blob if segment is None else read_segment(folder, segment))
        after = seq
    return after, chunks


def events_recorded(
    connection: sqlite3.Connection, folder: Path, eval_id: int, position: str, up_to: int
) -> None:
    """Remember that the record now ends at `position`, and forget the events up to there."""
    with transaction(connection):
        connection.execute(sql.SET_RECORD_POSITION, (position, eval_id))
        connection.execute(sql.FORGET_EVENTS, (eval_id, up_to))
    remove_recorded(connection, folder)
