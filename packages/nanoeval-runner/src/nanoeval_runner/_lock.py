"""One process runs a run set at a time: a lock that its children do not inherit."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from nanoeval_core.errors import StateError

from nanoeval_runner._queue.paths import create_private


class RunSetLock:
    """The lock next to a state file.

    A process that the driver forks has the same open file, and would hold the lock when the driver
    is long dead: there the file is closed at once.
    """

    _held: set[int] = set()  # noqa: RUF012  the open lock files of this process

    def __init__(self, path: Path) -> None:
        self._path = path.with_suffix(".lock")
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            StateError: another process runs this run set, or another event loop of this one.
        """
        create_private(self._path)
        file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(file, 32, 0).decode() or "unknown"
            os.close(file)
            raise StateError(
                f"run set {self._path.stem!r} is being run by process {owner}: wait for it or stop "
                "it, or choose another run_set_id"
            ) from error
        os.truncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        self._file = file
        self._held.add(file)

    def release(self) -> None:
        if self._file is not None:
            self._held.discard(self._file)
            os.close(self._file)
            self._file = None

    @classmethod
    def close_inherited(cls) -> None:
        """Let go, in a process that was just forked, of what its parent holds."""
        for file in cls._held:
            with contextlib.suppress(OSError):
                os.close(file)
        cls._held.clear()


os.register_at_fork(after_in_child=RunSetLock.close_inherited)
