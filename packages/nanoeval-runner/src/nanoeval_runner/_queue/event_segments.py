"""Files next to the state file that events pass through on their way to the record.

What tasks record may be a hundred times as long as what they return. In the state file it would be
written to the log, copied to its pages, read from there and deleted page by page, all under the
write lock. So a process of a pool appends the events of a commit to a file of its own, and the
transaction holds only where they are (`name:offset:length`). The driver removes what it recorded.

Only on a memory file system: there, what a process has written outlives it, and a power cut takes
all. On a disk a power cut could keep the transaction and lose the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from nanoeval_core.errors import StateError

from nanoeval_runner._queue import sql
from nanoeval_runner._queue.paths import on_memory_file_system, open_private, shared_dir

SMALLEST = 16_384
"""Bytes: shorter events cost least in the state file."""

LARGEST_SEGMENT = 64 * 1024 * 1024
"""Bytes after which another file is begun, so that the driver can remove this one."""

_SUFFIX = ".events"


class SegmentWriter:
    """Appends the events of one executor. Used on its store's thread."""

    def __init__(self, folder: Path, executor_id: int) -> None:
        self._folder = folder
        self._executor_id = executor_id
        self._number = 0
        self._file: int | None = None
        self._end = 0

    def append(self, events: bytes) -> str | None:
        """Write `events` and say where they are; None when the state file should hold them."""
        if len(events) < SMALLEST:
            return None
        try:
            if self._file is None or self._end > LARGEST_SEGMENT:
                self._begin_next()
            assert self._file is not None  # noqa: S101
            written = os.pwrite(self._file, events, self._end)
        except OSError:  # no room: the state file has the words for that, if it has none either
            return None
        if written < len(events):
            return None
        place = f"{self._name()}:{self._end}:{written}"
        self._end += written
        return place

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _name(self) -> str:
        return f"{self._executor_id}-{self._number}{_SUFFIX}"

    def _begin_next(self) -> None:
        self.close()
        self._number += 1
        path = self._folder / self._name()
        self._file = open_private(path)
        self._end = os.fstat(self._file).st_size


def segment_folder(database: Path) -> Path | None:
    """Return where the segments of a state file are; None where there are to be none."""
    return shared_dir(database) if on_memory_file_system(database) else None


def read_segment(folder: Path, place: str) -> bytes:
    """Return the events at `place`.

    Raises:
        StateError: they are gone.
    """
    name, offset, length = place.rsplit(":", 2)
    events = b""
    with contextlib.suppress(FileNotFoundError):
        file = os.open(folder / Path(name).name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            events = os.pread(file, int(length), int(offset))
        finally:
            os.close(file)
    if len(events) < int(length):
        raise StateError(
            f"{folder / name}: events that were to be recorded are gone: if the state file was "
            f"moved, move the folder {folder.name} with it and resume again"
        )
    return events


def remove_recorded(
    connection: sqlite3.Connection, folder: Path, *, all_ended: bool = False
) -> None:
    """Remove the segments that nothing points into and nobody writes any more.

    Args:
        all_ended: no executor runs, whatever the state file says of those that were killed.
    """
    names = {path.name for path in folder.glob(f"*{_SUFFIX}")}
    if not names:
        return
    # In this order: once an executor's next segment is there, all that points into the one before
    # is committed; and what ended before this look commits nothing after it.
    rows = () if all_ended else connection.execute(sql.RUNNING_EXECUTORS)
    running = {row[0] for row in rows}
    wanted = {place.rsplit(":", 2)[0] for _, place in connection.execute(sql.EVENTS_IN_SEGMENTS)}
    for name in names - wanted:
        executor_id, number = map(int, name.removesuffix(_SUFFIX).split("-"))
        if executor_id in running and f"{executor_id}-{number + 1}{_SUFFIX}" not in names:
            continue
        with _alone(folder) as may_remove:
            if may_remove:
                (folder / name).unlink(missing_ok=True)


def fill_in(copy: sqlite3.Connection, folder: Path) -> None:
    """Put the events themselves into a copy of a state file, made within `kept(folder)`."""
    for seq, place in copy.execute(sql.EVENTS_IN_SEGMENTS).fetchall():
        copy.execute(sql.SET_EVENTS, (read_segment(folder, place), seq))
    copy.commit()


@contextlib.contextmanager
def kept(folder: Path) -> Iterator[None]:
    """Have no segment removed meanwhile."""
    with _lock_file(folder) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    with _lock_file(folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextlib.contextmanager
def _lock_file(folder: Path) -> Iterator[int]:
    file = open_private(folder / "events.lock")
    try:
        yield file
    finally:
        os.close(file)
