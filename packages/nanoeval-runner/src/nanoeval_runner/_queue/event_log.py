"""Events on their way to the record: written with their results, or logged to be written later."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from nanoeval_runner._queue import sql
from nanoeval_runner._queue.connection import transaction
from nanoeval_runner._queue.event_segments import SegmentWriter, read_segment, remove_recorded
from nanoeval_runner._queue.rows import Completion


class DirectWriter(Protocol):
    """Writes one eval's events to its record within the transaction that commits their results."""

    def write_directly(self, events: list[bytes]) -> str | None:
        """Write them and give the record's new position; None to have them logged instead."""
        ...

    def settle(self, *, committed: bool) -> None:
        """The transaction is over; unless it was committed, take back what was written in it."""
        ...


class EventSink:
    """Where the events of an executor go.

    Attributes:
        writers: in the driver, the writer of each eval's record.
        segments: in a process of a pool, the file that they are passed on in.
    """

    def __init__(self) -> None:
        self.writers: dict[int, DirectWriter] = {}
        self.segments: SegmentWriter | None = None

    def write(self, eval_id: int, events: list[bytes]) -> str | None:
        writer = self.writers.get(eval_id)
        return writer.write_directly(events) if writer is not None else None

    def settle(self, *, committed: bool) -> None:
        for writer in list(self.writers.values()):
            writer.settle(committed=committed)


def log_events(
    connection: sqlite3.Connection,
    eval_id: int,
    group: Sequence[Completion],
    sink: EventSink | None,
) -> None:
    """Record the events of one eval's completions, or log them where there is no `sink` to."""
    events = [c.events for c in group if c.events]
    if not events:
        return
    position = sink.write(eval_id, events) if sink is not None else None
    if position is not None:
        connection.execute(sql.SET_RECORD_POSITION, (position, eval_id))
        return
    blob = pickle.dumps(events, pickle.HIGHEST_PROTOCOL)
    place = sink.segments.append(blob) if sink is not None and sink.segments is not None else None
    connection.execute(sql.LOG_EVENTS, (eval_id, blob if place is None else place))


def has_events(connection: sqlite3.Connection, eval_id: int) -> bool:
    """Whether logged events of an eval wait to be recorded."""
    return connection.execute(sql.READ_EVENT_LOG, (eval_id, 0, 1)).fetchone() is not None


def read_events(
    connection: sqlite3.Connection, folder: Path, eval_id: int, after: int, limit: int
) -> tuple[int, list[bytes]]:
    """The events of up to `limit` commits after `after`, and the sequence number of the last.

    Raises:
        StateError: they are gone from `folder`, where segments are.
    """
    chunks: list[bytes] = []
    for seq, events in connection.execute(sql.READ_EVENT_LOG, (eval_id, after, limit)):
        chunks += pickle.loads(read_segment(folder, events) if type(events) is str else events)
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
