"""The state file as coroutines use it: one transaction, one function, one hop to a thread."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar

import anyio.to_thread
from nanoeval_core.errors import StateError

from nanoeval_runner._queue import backup, transactions
from nanoeval_runner._queue.connection import (
    TransactionThread,
    close_lock_file,
    connect,
    open_lock_file,
)
from nanoeval_runner._queue.event_log import take_in_segments
from nanoeval_runner._queue.paths import check_owner, create_private, files_of, shared_dir

P = ParamSpec("P")
T = TypeVar("T")


def _find(path: Path) -> bool:
    """Return whether the state file is there, by now: it may have come from its backup."""
    if path.exists():
        check_owner(path)
        try:
            with contextlib.closing(connect(path)) as connection:
                if transactions.check_schema(connection, str(path)):
                    return True
        except sqlite3.DatabaseError as error:
            raise StateError(transactions.damaged(str(path), error)) from error
    for file in files_of(path):  # what a file that vanished left: it would be read as ours
        if file.name.startswith(path.name):
            file.unlink()
    return backup.restore(path)


def _lock(path: Path) -> int:
    """Lock the file at `path`, next to a state file: one process runs a run set at a time.

    Raises:
        StateError: another process runs it, or another event loop of this one.
    """
    file = open_lock_file(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(file, 32, 0).decode() or "unknown"
        close_lock_file(file)
        raise StateError(
            f"run set {path.stem!r} is being run by process {owner}: wait for it or stop it, or "
            "choose another run_set_id"
        ) from error
    if not os.fstat(file).st_nlink:  # a run that was refused has removed it meanwhile
        close_lock_file(file)
        return _lock(path)
    os.truncate(file, 0)
    os.pwrite(file, str(os.getpid()).encode(), 0)
    return file


class Store:
    """A state file, opened. Use it with `async with`.

    Attributes:
        inode: which file it is, if another takes its place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread: TransactionThread | None = None
        self._lock: int | None = None
        self.inode = 0

    async def __aenter__(self) -> Self:
        try:
            # Opened before aiosqlite starts its thread, which a failure would leave behind.
            connection = await anyio.to_thread.run_sync(connect, self.path)
        except sqlite3.DatabaseError as error:
            raise self._explain(error) from error
        self.inode = self.path.stat().st_ino
        self._thread = TransactionThread(connection)
        await self._thread
        return self

    async def open_run_set(self, *, is_new: bool = False) -> bool:
        """Enter the store of a run set, and lock it; return whether it was there.

        It is the file that is there; without one, or with one that nothing was ever written to,
        the backup; without that either, a new one.

        Args:
            is_new: nobody knows its name yet, so there can be neither.

        Raises:
            StateError: another process runs this run set; the file or backup is another user's,
                another version's, or damaged.
        """
        path = self.path
        self._lock = _lock(path.with_suffix(".lock"))
        try:
            was_there = not is_new and await anyio.to_thread.run_sync(_find, path)
            if not was_there:
                create_private(path)
            await self.__aenter__()
            if was_there and await self.call(transactions.check_schema, str(path)):
                await self.call(transactions.recover)
                await self.call(take_in_segments, shared_dir(path))
            else:
                await self.call(transactions.create_schema, path.stem)
        except BaseException:
            await self.__aexit__()
            raise
        return was_there

    async def __aexit__(self, *exc: object) -> None:
        if self._thread is not None:
            thread, self._thread = self._thread, None
            await thread.close()
        self.close_soon()

    def close_soon(self) -> None:
        """Unlock the file, and have it closed once its thread is free, without waiting for it."""
        if self._thread is not None:
            self._thread.stop()
            self._thread = None
        if self._lock is not None:
            close_lock_file(self._lock)
            self._lock = None

    async def call(
        self,
        function: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a function of `transactions` on the connection's thread.

        Raises:
            StateError: the file is damaged, gone or cannot be written.
        """
        assert self._thread is not None, "Store is used inside `async with`"  # noqa: S101
        try:
            return await self._thread.call(function, *args, **kwargs)
        except sqlite3.DatabaseError as error:
            raise self._explain(error) from error

    async def check_pages(self) -> None:
        await anyio.to_thread.run_sync(transactions.check_pages, self.path)

    def _explain(self, error: sqlite3.DatabaseError) -> Exception:
        text = str(error)
        if "malformed" in text or "not a database" in text:
            return StateError(transactions.damaged(str(self.path), error))
        if "unable to open" in text and not self.path.exists():
            return StateError(
                f"state file {self.path} is gone: somebody removed it. Resume the run set to go on "
                "from its backup"
            )
        if "full" in text or "disk I/O" in text or "unable to open" in text:
            return StateError(
                f"cannot write state file {self.path}: {text}. What was finished before is kept in "
                "it: make room there (or move it and set NANOEVAL_STATE_DIR), then resume"
            )
        return error
