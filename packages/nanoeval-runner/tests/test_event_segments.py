"""Segments: where events are written, read, and when their files go."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from nanoeval_core.errors import StateError
from nanoeval_runner._queue import event_segments, sql, transactions
from nanoeval_runner._queue.connection import connect
from nanoeval_runner._queue.event_segments import (
    SMALLEST,
    SegmentWriter,
    fill_in,
    kept,
    read_segment,
    remove_recorded,
)
from nanoeval_runner._queue.paths import create_private

LARGE = b"x" * SMALLEST


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    create_private(tmp_path / "state.db")
    with contextlib.closing(connect(tmp_path / "state.db")) as connection:
        transactions.create_schema(connection, "state")
        yield connection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "state.shared"
    folder.mkdir()
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.events")}


def test_what_was_appended_is_read_back(folder: Path) -> None:
    with contextlib.closing(SegmentWriter(folder, 1)) as writer:
        places = [writer.append(LARGE + bytes([number])) for number in range(3)]
    found = [read_segment(folder, place) for place in places if place is not None]
    assert found == [LARGE + bytes([number]) for number in range(3)]
    (path,) = folder.glob("*.events")
    assert path.stat().st_mode & 0o777 == 0o600


def test_short_events_stay_in_the_state_file(folder: Path) -> None:
    assert SegmentWriter(folder, 1).append(LARGE[:-1]) is None
    assert not names(folder)


def test_without_room_they_stay_in_the_state_file(folder: Path) -> None:
    folder.rmdir()
    assert SegmentWriter(folder, 1).append(LARGE) is None


@pytest.mark.parametrize("place", ["1-1.events:0:99999999", "1-2.events:0:5", "../x.events:0:5"])
def test_events_that_are_gone_are_an_error_that_says_what_to_do(folder: Path, place: str) -> None:
    with contextlib.closing(SegmentWriter(folder, 1)) as writer:
        writer.append(LARGE)
    with pytest.raises(StateError, match=r"move the folder state\.shared with it"):
        read_segment(folder, place)


def test_a_segment_goes_when_its_executor_has_begun_another(
    connection: sqlite3.Connection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_segments, "LARGEST_SEGMENT", SMALLEST)
    executor_id = transactions.add_executor(connection, "a", "multiprocess", 1, "here")
    writer = SegmentWriter(folder, executor_id)
    place = writer.append(LARGE)
    connection.execute(sql.LOG_EVENTS, (1, None, place))
    writer.append(LARGE)
    remove_recorded(connection, folder)
    assert names(folder) == {f"{executor_id}-1.events"}  # waits to be recorded
    connection.execute(sql.FORGET_EVENTS, (1, 99))
    remove_recorded(connection, folder)
    assert names(folder) == {f"{executor_id}-1.events"}  # and may still be written
    writer.append(LARGE)
    with kept(folder):
        remove_recorded(connection, folder)
        assert len(names(folder)) == 2  # a backup is being made
    remove_recorded(connection, folder)
    assert names(folder) == {f"{executor_id}-2.events"}
    remove_recorded(connection, folder, all_ended=True)
    assert not names(folder)
    writer.close()


def test_a_copy_holds_the_events_themselves(
    connection: sqlite3.Connection, folder: Path, tmp_path: Path
) -> None:
    with contextlib.closing(SegmentWriter(folder, 1)) as writer:
        connection.execute(sql.LOG_EVENTS, (1, None, writer.append(LARGE)))
    connection.execute(sql.LOG_EVENTS, (1, b"short", None))
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        connection.backup(copy)
        fill_in(copy, folder)
        events = [row[0] for row in copy.execute("SELECT events FROM event_log ORDER BY seq")]
    assert events == [LARGE, b"short"]
