"""State files as commands see them: read-only, whether their run goes on or not."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from nanoeval_core.errors import ConfigError, StateError

from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.paths import (
    SUFFIX,
    backup_location,
    check_owner,
    on_memory_file_system,
    state_dir,
    state_file,
)
from nanoeval_runner._queue.rows import EvalRow, ExecutorRow, FailedAttempt
from nanoeval_runner._queue.sql import SCHEMA_VERSION
from nanoeval_runner._queue.store import Store, connect
from nanoeval_runner._resume import resumable

__all__ = [
    "SUFFIX",
    "EvalRow",
    "ExecutorRow",
    "FailedAttempt",
    "StateFile",
    "Store",
    "backup_location",
    "backups",
    "connect",
    "files_of",
    "is_being_run",
    "on_memory_file_system",
    "read_state_file",
    "record_of",
    "remove_state",
    "resumable",
    "state_dir",
    "state_file",
    "state_files",
]


@dataclasses.dataclass(frozen=True, slots=True)
class StateFile:
    """A run set as its state file has it.

    Attributes:
        path: the file.
        evals: its evals, in the order they were added.
        executors: those that ever ran, as they last reported.
        global_limit: tasks in flight over all evals; None without such a limit.
        is_running: whether a process runs it now.
        modified_at: when it was last written, in seconds since the epoch.
        size: of the file and what belongs to it, in bytes.
    """

    path: Path
    evals: list[EvalRow]
    executors: list[ExecutorRow]
    global_limit: int | None
    is_running: bool
    modified_at: float
    size: int

    @property
    def run_set_id(self) -> str:
        return self.path.stem

    def state_of(self, row: EvalRow) -> str:
        """The eval's state in the file, or `died` when it is unfinished and nobody runs it."""
        unfinished = row.state in ("queued", "running")
        return "died" if unfinished and not self.is_running else row.state

    @property
    def is_complete(self) -> bool:
        return bool(self.evals) and all(row.state == "done" for row in self.evals)


def read_state_file(path: Path) -> StateFile:
    """Read the state file at `path`.

    Raises:
        StateError: it is no state file of this version, cannot be read, or is not the user's own.
    """
    check_owner(path)
    # Before it is opened: that touches the files beside it.
    written = [path, path.with_name(path.name + "-wal")]
    modified_at = max(file.stat().st_mtime for file in written if file.exists())
    size = sum(file.stat().st_size for file in files_of(path) if file.is_file())
    try:
        with contextlib.closing(connect(path, read_only=True)) as connection:
            # Not check_schema: it reads the whole file, which is for those who go on with it.
            version = transactions.get_metadata(connection, "schema_version")
            if version != SCHEMA_VERSION:
                raise StateError(
                    f"state file {path} has schema version {version!r}, this nanoeval reads "
                    f"version {SCHEMA_VERSION}: look at it with the nanoeval that wrote it"
                )
            limit = transactions.get_metadata(connection, "global_limit")
            return StateFile(
                path=path,
                evals=transactions.list_evals(connection),
                executors=transactions.list_executors(connection),
                global_limit=limit if isinstance(limit, int) else None,
                is_running=is_being_run(path),
                modified_at=modified_at,
                size=size,
            )
    except sqlite3.Error as error:
        raise StateError(f"state file {path} cannot be read: {error}") from error


def state_files() -> Iterator[StateFile | StateError]:
    """Every state file, newest first; the error instead of one that cannot be read."""
    for path in resumable():
        try:
            yield read_state_file(path)
        except StateError as error:
            yield error
        except FileNotFoundError:  # cleaned up meanwhile
            continue


def is_being_run(path: Path) -> bool:
    """Whether a process holds the lock of the state file at `path`."""
    lock = path.with_suffix(".lock")
    if not lock.exists():
        return False
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def files_of(path: Path) -> list[Path]:
    """The state file and what lies beside it for the same run set."""
    beside = [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm")]
    beside += [path.with_suffix(suffix) for suffix in (".lock", ".shared")]
    return [file for file in [path, *beside] if file.exists()]


def remove_state(path: Path) -> None:
    """Remove a run set's state.

    Raises:
        ConfigError: it is being run.
    """
    if is_being_run(path):
        raise ConfigError(f"run set {path.stem!r} is being run: stop it first")
    for file in files_of(path):
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)


def backups() -> list[Path]:
    """The backups in a local folder, newest first; none when they go to a URL."""
    location = backup_location()
    if "://" in location:
        return []
    found = Path(location).expanduser().glob(f"*{SUFFIX}")
    return sorted(found, key=lambda path: -path.stat().st_mtime)


def record_of(row: EvalRow) -> Path | None:
    """Where the eval's record is, as far as its recorder said so in its position."""
    try:
        position = json.loads(row.record_position)
    except ValueError:
        return None
    path = position.get("path") if isinstance(position, dict) else None
    return Path(path) if isinstance(path, str) else None
