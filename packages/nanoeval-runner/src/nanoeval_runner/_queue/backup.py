"""Durable copies of the state file: sqlite's online backup, written to a temporary name."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
from nanoeval_core.errors import ConfigError, StateError

from nanoeval_runner._queue import sql
from nanoeval_runner._queue.connection import connect
from nanoeval_runner._queue.event_log import copying, fill_in
from nanoeval_runner._queue.paths import (
    RESTORING,
    UPLOADING,
    backup_location,
    check_owner,
    create_private,
    private_folder,
    shared_dir,
)

log = logging.getLogger("nanoeval.runner")

SYNC_AFTER = 5.0
"""Runs shorter than this many seconds are not worth waiting for the disk."""

PART = ".part"
"""Of a copy that is being written."""

PAGES_A_STEP = 4096
"""Pages copied before the write lock is let go: 16 MiB, some milliseconds."""


class Backup:
    """Copies one state file now and then. A copy that fails warns; it never stops the run."""

    def __init__(self, path: Path, interval: float) -> None:
        self._path = path
        self._interval = interval
        self._started = time.monotonic()
        self._due = self._started + interval
        self._warned = False

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    async def write(self) -> None:
        sync = time.monotonic() - self._started > SYNC_AFTER
        try:
            await anyio.to_thread.run_sync(partial(copy, self._path, backup_location(), sync=sync))
        except Exception as error:  # noqa: BLE001  reported below, whatever the file system raised
            if not self._warned:
                self._warned = True
                log.warning(
                    "the backup of %s to %s failed (%s: %s): the run goes on without; set "
                    "NANOEVAL_BACKUP_DIR to a folder that can be written, or should_backup=False",
                    self._path,
                    backup_location(),
                    type(error).__name__,
                    error,
                )
        self._due = time.monotonic() + self._interval


def copy(path: Path, location: str, *, sync: bool) -> None:
    """Copy the state file at `path` to `location`, a folder or an fsspec URL.

    What a killed run left half-written is overwritten by the next copy of the same run set.
    """
    if "://" in location:
        folder, part = None, path.with_suffix(UPLOADING)
    else:
        folder = private_folder(Path(location).expanduser(), setting="NANOEVAL_BACKUP_DIR")
        part = folder / f".{path.name}{PART}"
    try:
        _copy_database(path, part)
        if folder is None:
            _upload(part, f"{location.rstrip('/')}/{path.name}")
            return
        if sync:
            with part.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(part, folder / path.name)
    finally:
        part.unlink(missing_ok=True)


def _copy_database(path: Path, part: Path) -> None:
    for leftover in (part, part.with_name(f"{part.name}-journal")):
        leftover.unlink(missing_ok=True)
    create_private(part)
    with (
        copying,
        contextlib.closing(connect(path)) as source,
        contextlib.closing(sqlite3.connect(part)) as target,
    ):
        target.execute(sql.NO_SYNC)
        source.backup(target, pages=PAGES_A_STEP, sleep=0.001)
        if elsewhere := target.execute(sql.EVENTS_IN_FILES).fetchall():
            fill_in(target, shared_dir(path), elsewhere)
        # The copy is one file: a resumed run copies it back without its WAL.
        target.execute(sql.ONE_FILE)


def put_back(connection: sqlite3.Connection, path: Path) -> None:
    """Write the state file that `connection` has open to `path`, from where somebody removed it.

    Raises:
        StateError: there is another one by now.
    """
    private_folder(path.parent, setting="NANOEVAL_STATE_DIR")
    if path.exists():
        raise StateError(
            f"state file {path} was removed while it was in use, and there is another one by now: "
            "what this run finished is in its record alone. Run its eval again under another "
            "run_set_id"
        )
    part = path.with_suffix(RESTORING)
    create_private(part)
    with contextlib.closing(sqlite3.connect(part)) as target:
        connection.backup(target)
        target.execute(sql.ONE_FILE)
    for leftover in (f"{path.name}-wal", f"{path.name}-shm"):  # of the one that is gone
        path.with_name(leftover).unlink(missing_ok=True)
    os.replace(part, path)
    log.warning("state file %s was removed during the run: it has been put back", path)


def restore(path: Path) -> bool:
    """Copy the backup of the state file at `path` there. False without one.

    Raises:
        StateError: another user owns it: what is in it gets unpickled.
    """
    location = backup_location()
    part = path.with_suffix(RESTORING)
    try:
        if "://" in location:
            if not _download(f"{location.rstrip('/')}/{path.name}", part):
                return False
        else:
            source = Path(location).expanduser() / path.name
            if not source.exists():
                return False
            check_owner(source)
            create_private(part)
            shutil.copyfile(source, part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return True


def remove(path: Path) -> None:
    """Remove a backup in a local folder, and what a killed run left of a later one."""
    part = path.with_name(f".{path.name}{PART}")
    for file in (path, part, part.with_name(f"{part.name}-journal")):
        file.unlink(missing_ok=True)


def _file_system(url: str) -> tuple[Any, str]:
    """Return the file system of an fsspec URL, and the path in it."""
    try:
        import fsspec  # noqa: PLC0415  only for backups to a URL
    except ImportError as error:
        raise ConfigError(
            f"NANOEVAL_BACKUP_DIR={backup_location()!r} is a URL, which needs fsspec: "
            "`pip install fsspec`, or name a folder"
        ) from error
    found: tuple[Any, str] = fsspec.core.url_to_fs(url)
    return found


def _upload(source: Path, url: str) -> None:
    fs, target = _file_system(url)
    fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
    fs.put_file(str(source), f"{target}.part")
    fs.mv(f"{target}.part", target)


def _download(url: str, part: Path) -> bool:
    fs, source = _file_system(url)
    if not fs.exists(source):
        return False
    owner = fs.info(source).get("uid")  # local ones say so; access to a store is its owner's
    if owner not in (None, os.getuid()):
        raise StateError(
            f"backup {url!r} belongs to user {owner}, not to you (user {os.getuid()}): state files "
            "hold pickles, and are only read by the user who wrote them"
        )
    create_private(part)
    fs.get_file(source, str(part))
    return True
