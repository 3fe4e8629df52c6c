"""Events that wait: where they are written and read, and when their files go."""

from __future__ import annotations

import contextlib
import pickle
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from nanoeval_core.errors import StateError
from nanoeval_runner._queue import event_log, sql, transactions
from nanoeval_runner._queue.connection import connect
from nanoeval_runner._queue.event_log import (
    SMALLEST,
    events_recorded,
    fill_in,
    log_events,
    read_events,
    remove_recorded,
    take_in_segments,
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


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.events"))


def test_what_was_logged_is_read_back(connection: sqlite3.Connection, folder: Path) -> None:
    chunks = [LARGE + bytes([number]) for number in range(3)]
    for chunk in chunks:
        log_events(connection, 1, [chunk], folder)
    assert len(files(folder)) == 3
    assert {path.stat().st_mode & 0o777 for path in files(folder)} == {0o600}
    assert read_events(connection, folder, 1, 0, 9) == (3, chunks)


def test_short_events_stay_in_the_state_file(connection: sqlite3.Connection, folder: Path) -> None:
    log_events(connection, 1, [b"short"], folder)
    assert not files(folder)
    assert read_events(connection, folder, 1, 0, 9) == (1, [b"short"])


def test_without_room_they_stay_in_the_state_file(
    connection: sqlite3.Connection, folder: Path
) -> None:
    folder.rmdir()
    log_events(connection, 1, [LARGE], folder)
    assert read_events(connection, folder, 1, 0, 9) == (1, [LARGE])


def test_events_that_are_gone_are_an_error_that_says_what_to_do(
    connection: sqlite3.Connection, folder: Path
) -> None:
    log_events(connection, 1, [LARGE], folder)
    files(folder)[0].unlink()
    with pytest.raises(StateError, match=r"move the folder state\.shared with it"):
        read_events(connection, folder, 1, 0, 9)


def test_a_file_goes_once_its_events_are_recorded(
    connection: sqlite3.Connection, folder: Path
) -> None:
    log_events(connection, 1, [LARGE], folder)
    log_events(connection, 1, [LARGE], folder)
    about_to_be_committed = folder / "3.events"
    about_to_be_committed.write_bytes(LARGE)
    remove_recorded(connection, folder)
    assert len(files(folder)) == 3  # two wait to be recorded
    with event_log.copying:
        events_recorded(connection, folder, 1, "there", 1)
        assert len(files(folder)) == 3  # a backup is being made
    events_recorded(connection, folder, 1, "there", 2)
    assert files(folder) == [about_to_be_committed]
    log_events(connection, 1, [b"short"], folder)  # row 3: that transaction was not committed
    remove_recorded(connection, folder)
    assert not files(folder)


def test_what_an_uncommitted_transaction_left_is_written_over(
    connection: sqlite3.Connection, folder: Path
) -> None:
    (folder / "1.events").write_bytes(b"left" * SMALLEST)
    log_events(connection, 1, [LARGE], folder)
    assert read_events(connection, folder, 1, 0, 9) == (1, [LARGE])


def test_a_copy_holds_the_events_themselves(
    connection: sqlite3.Connection, folder: Path, tmp_path: Path
) -> None:
    log_events(connection, 1, [LARGE], folder)
    log_events(connection, 1, [b"short"], folder)
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        connection.backup(copy)
        fill_in(copy, folder, copy.execute(sql.EVENTS_IN_FILES).fetchall())
        assert not copy.execute(sql.EVENTS_IN_FILES).fetchall()
        assert read_events(copy, tmp_path / "elsewhere", 1, 0, 9) == (2, [LARGE, b"short"])


def make_earlier(connection: sqlite3.Connection, more: str = "") -> None:
    """Have the event log as an earlier version made it, where rows may lack their events."""
    connection.executescript(
        f"""
        DROP TABLE event_log;
        CREATE TABLE event_log (
            seq     INTEGER PRIMARY KEY AUTOINCREMENT,
            eval_id INTEGER NOT NULL,
            events  BLOB{more}
        )
        """
    )


def test_a_state_file_of_an_earlier_version_is_gone_on_with(
    connection: sqlite3.Connection, folder: Path
) -> None:
    make_earlier(connection, ", segment TEXT, CHECK ((events IS NULL) <> (segment IS NULL))")
    waiting = [pickle.dumps([LARGE + bytes([number])]) for number in range(2)]
    (folder / "7-1.events").write_bytes(b"".join(waiting))
    for place in (
        f"7-1.events:0:{len(waiting[0])}",
        f"7-1.events:{len(waiting[0])}:{len(waiting[1])}",
    ):
        connection.execute("INSERT INTO event_log (eval_id, segment) VALUES (1, ?)", (place,))
    connection.commit()
    take_in_segments(connection, folder)
    log_events(connection, 1, [LARGE], folder)
    log_events(connection, 1, [b"short"], folder)
    expected = [LARGE + b"\0", LARGE + b"\1", LARGE, b"short"]
    assert read_events(connection, folder, 1, 0, 9) == (4, expected)


def test_events_in_files_of_an_earlier_version_are_kept(
    connection: sqlite3.Connection, folder: Path
) -> None:
    """It has NULL in the rows that stand for them."""
    make_earlier(connection)
    connection.execute("INSERT INTO event_log (eval_id, events) VALUES (1, NULL)")
    (folder / "1.events").write_bytes(pickle.dumps([LARGE]))
    remove_recorded(connection, folder)
    assert read_events(connection, folder, 1, 0, 9) == (1, [LARGE])
