"""State files for those who look at them, whether their run goes on or not.

Reading changes nothing: in WAL mode readers and the writer do not wait for each other, and every
method of `StateReader` is one short read. `set_concurrency` and `remove_state` are what may be
changed from outside of a run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from nanoeval_core.errors import ConfigError, StateError
from nanoeval_core.run_facts import RunFacts
from nanoeval_core.words import run_state

from nanoeval_runner._queue import backup, sql, transactions
from nanoeval_runner._queue.backup import remove as remove_backup
from nanoeval_runner._queue.connection import connect
from nanoeval_runner._queue.paths import (
    SUFFIX,
    backup_location,
    check_owner,
    files_of,
    on_memory_file_system,
    remove_files_of,
    state_dir,
    state_file,
    state_paths,
)
from nanoeval_runner._queue.rows import EvalRow, ExecutorRow, FailedAttempt
from nanoeval_runner.stored_eval import model_in

__all__ = [
    "SUFFIX",
    "EvalRow",
    "ExecutorRow",
    "FailedAttempt",
    "StateFile",
    "StateReader",
    "backup_location",
    "backups",
    "connect",
    "files_of",
    "is_being_run",
    "leftovers",
    "may_be_resumed",
    "on_memory_file_system",
    "read_state_file",
    "record_of",
    "remove_backup",
    "remove_state",
    "set_concurrency",
    "state_dir",
    "state_file",
    "state_files",
    "state_paths",
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

    def facts_of(self, row: EvalRow) -> RunFacts:
        """Return what the file says of the run of one of its evals."""
        state = run_state(row.state, is_running=self.is_running)
        seconds = row.elapsed
        if not seconds and state == "running":  # the file has it from the first second on
            began = max([row.created_at, *(each.started_at for each in self.executors)])
            seconds = max(0.0, time.time() - began)
        elif not seconds:
            seconds = max(0.0, self.modified_at - row.created_at)
        summary = {}
        with contextlib.suppress(ValueError, RecursionError):
            summary = json.loads(row.summary or "{}")
        return RunFacts(
            run_id=row.run_id,
            run_set_id=self.run_set_id,
            eval=row.name,
            model=row.model_name or model_in(row.arguments) or "",
            state=state,
            created_at=row.created_at,
            seconds=seconds,
            done=row.done + row.failed,
            # A retried task has a row for each attempt; `total` counts it once.
            total=row.total,
            errors=row.failed,
            retries=row.retries,
            tokens=row.usage.total_tokens,
            cost=row.usage.cost,
            summary=summary,
        )

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do: every eval is done, and its record is complete."""
        return bool(self.evals) and all(
            row.state == "done" and not row.unrecorded for row in self.evals
        )


class StateReader:
    """A state file, open for reading. Use it with `with`, on one thread at a time.

    Args:
        path: the file.
        at_rest: nobody writes it meanwhile, so it is read without locks.

    Raises:
        StateError: it is not the user's own, not a state file of this version, or cannot be read.
    """

    def __init__(self, path: Path, *, at_rest: bool = False) -> None:
        check_owner(path)
        self.path = path
        try:
            self._connection = connect(path, read_only=True, at_rest=at_rest)
            with contextlib.ExitStack() as refused:
                refused.callback(self._connection.close)
                # Not check_pages: it reads the whole file, which is for those who go on with it.
                version = transactions.get_metadata(self._connection, "schema_version")
                if version != sql.SCHEMA_VERSION:
                    raise transactions.other_version(str(path), version)
                refused.pop_all()
        except sqlite3.Error as error:
            raise StateError(f"state file {path} cannot be read: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    def read(self) -> StateFile:
        """Read what the file says of its run set now."""
        limit = transactions.get_metadata(self._connection, "global_limit")
        found = [(file.name, file.stat()) for file in files_of(self.path)]
        files = [(name, status) for name, status in found if stat.S_ISREG(status.st_mode)]
        # Reading makes an empty `-wal`: that is nothing written.
        written = [
            status.st_mtime
            for name, status in files
            if name.endswith((SUFFIX, f"{SUFFIX}-wal")) and status.st_size
        ]
        return StateFile(
            path=self.path,
            evals=transactions.list_evals(self._connection),
            executors=transactions.list_executors(self._connection),
            global_limit=limit if isinstance(limit, int) else None,
            is_running=is_being_run(self.path),
            modified_at=max(written),
            size=sum(status.st_size for _, status in files),
        )

    def durations(self, row: EvalRow, *, since: float, span: int) -> list[float]:
        """Return how many seconds attempts of an eval took that ended after `since` (wall-clock).

        Looks at the last `span` tasks that were leased, and at those in flight.
        """
        (last,) = self._connection.execute(sql.FIRST_WAITING, (row.id,)).fetchone()
        if last is None:
            (last,) = self._connection.execute(sql.LAST_TASK_ID).fetchone()
        among = last - row.leased - span, last, since, row.id
        return [seconds for (seconds,) in self._connection.execute(sql.FINISHED_AMONG, among)]

    def failures(self, *, after: tuple[float, int], limit: int) -> list[FailedAttempt]:
        """Return up to `limit` attempts that ended in a system error, in the order of their ends.

        Args:
            after: `finished_at` and `task_id` of the last one seen; (0.0, 0) for the first.
            limit: how many at most.
        """
        at, task_id = after
        after_these = {"at": at, "task_id": task_id, "limit": limit}
        rows = self._connection.execute(sql.FAILURES_AFTER, after_these)
        return [FailedAttempt(*row) for row in rows]


def read_state_file(path: Path) -> StateFile:
    """Read the state file at `path`.

    Raises:
        StateError: as `StateReader` raises it.
    """
    wal = path.with_name(f"{path.name}-wal")
    unwritten = not wal.exists() or not wal.stat().st_size
    with StateReader(path, at_rest=unwritten and not is_being_run(path)) as reader:
        try:
            return reader.read()
        except sqlite3.Error as error:
            raise StateError(f"state file {path} cannot be read: {error}") from error


def set_concurrency(path: Path, eval_id: int | None, limit: int | None) -> None:
    """Change the limit of one eval, or the global one, of a run set that may be going.

    Raises:
        ConfigError: the limit is not a positive number.
        StateError: the file is not the user's own, gone, or cannot be written.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit={limit}: give a positive number, or none")
    try:
        check_owner(path)
        with contextlib.closing(connect(path)) as connection:
            transactions.set_concurrency(connection, eval_id, limit)
    except (sqlite3.Error, OSError) as error:
        raise StateError(f"state file {path} cannot be written: {error}") from error


def state_files() -> Iterator[StateFile | StateError]:
    """Yield every state file, newest first; the error instead of one that cannot be read."""
    for path in state_paths():
        try:
            yield read_state_file(path)
        except StateError as error:
            yield error
        except FileNotFoundError:  # cleaned up meanwhile
            continue


def is_being_run(path: Path) -> bool:
    """Return whether a process holds the lock of the state file at `path`."""
    try:
        with path.with_suffix(".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def remove_state(path: Path) -> None:
    """Remove a run set's state.

    Raises:
        ConfigError: it is being run.
    """
    if is_being_run(path):
        raise ConfigError(f"run set {path.stem!r} is being run: stop it first")
    remove_files_of(path)


def backups() -> list[Path]:
    """Return the backups in a local folder, newest first; none when they go to a URL."""
    return sorted(_in_backup_folder(f"*{SUFFIX}"), key=lambda path: -path.stat().st_mtime)


def _in_backup_folder(pattern: str) -> list[Path]:
    location = backup_location()
    return [] if "://" in location else list(Path(location).expanduser().glob(pattern))


def may_be_resumed(run_set_id: str) -> bool:
    """Return whether there is a state file of that name, or there may be a backup of it."""
    is_here = state_file(run_set_id).exists() or run_set_id in {path.stem for path in backups()}
    return is_here or "://" in backup_location()


def leftovers() -> list[Path]:
    """Return what killed runs left: by state files that are gone, and half-written backups."""
    folder = state_dir()
    of_state = {part for path in state_paths(folder) for part in files_of(path)}
    found = []
    for path in sorted(folder.iterdir()):
        base = folder / path.name.removesuffix("-wal").removesuffix("-shm")
        base = base.with_suffix(SUFFIX)
        if path not in of_state and path in files_of(base) and not is_being_run(base):
            found.append(path)
    for path in sorted(_in_backup_folder(f".*{SUFFIX}{backup.PART}*")):
        run_set_id = path.name[1:].partition(SUFFIX)[0]
        if not is_being_run(folder / f"{run_set_id}{SUFFIX}"):
            found.append(path)
    return found


def record_of(row: EvalRow) -> Path | None:
    """Return where the eval's record is, as far as its recorder said so in its position."""
    try:
        position = json.loads(row.record_position)
    except ValueError:
        return None
    path = position.get("path") if isinstance(position, dict) else None
    return Path(path) if isinstance(path, str) else None
