"""The queue's connection: every method is one transaction and one hop to its thread."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import aiosqlite
import anyio.to_thread
from nanoeval_core.errors import StateError

from nanoeval_runner._queue import event_log, transactions
from nanoeval_runner._queue.event_segments import SegmentWriter, remove_recorded, segment_folder
from nanoeval_runner._queue.exchange import exchange, exchange_and_record
from nanoeval_runner._queue.paths import on_memory_file_system, shared_dir
from nanoeval_runner._queue.rows import (
    EvalRow,
    ExchangeReply,
    ExchangeRequest,
    ExecutorRow,
    Heartbeat,
    NewEval,
    ResultBatch,
    StoredTask,
    TaskTimes,
)
from nanoeval_runner._queue.transactions import QueueConnection

P = ParamSpec("P")
T = TypeVar("T")

BUSY_SECONDS = 60.0
"""How long a transaction waits for the write lock: far longer than any transaction holds it."""


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A plain connection with nanoeval's settings. The file must exist unless it is to be made."""
    check_same_thread = False  # aiosqlite opens and closes on its own thread, we check on ours
    if read_only:
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=check_same_thread,
        )
    connection = sqlite3.connect(
        path,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=check_same_thread,
        cached_statements=128,
        factory=QueueConnection,
    )
    connection.turn_file = os.open(path.with_suffix(".turn"), os.O_CREAT | os.O_RDWR, 0o600)
    connection.execute("PRAGMA journal_mode = WAL")
    # In WAL mode NORMAL loses nothing to a killed process; on a tmpfs there is nothing to sync.
    synchronous = "OFF" if on_memory_file_system(path) else "NORMAL"
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA secure_delete = OFF")  # some builds zero what is deleted
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    connection.execute("PRAGMA cache_size = -32000")
    return connection


def create_private(path: Path) -> None:
    """Create an empty file that only its owner can read, unless it exists."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


class Store:
    """A state file, opened. Use it with `async with`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: aiosqlite.Connection | None = None
        self.sink = event_log.EventSink()

    async def __aenter__(self) -> Self:
        path = self.path
        db = aiosqlite.Connection(lambda: connect(path), iter_chunk_size=64)
        try:
            self._db = await db
        except sqlite3.DatabaseError as error:
            # Its thread has yet to tell this event loop that it ends.
            await anyio.to_thread.run_sync(db._thread.join)
            raise self._explain(error) from error
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._db is not None:
            await self._db.close()
            self._db = None
        if self.sink.segments is not None:
            self.sink.segments.close()

    async def _hop(
        self,
        function: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a whole transaction on the connection's thread.

        aiosqlite's public methods run one statement each; a hop costs more than a statement, so
        the function goes over as a whole, through the method its public ones are built on.
        """
        assert self._db is not None, "Store is used inside `async with`"  # noqa: S101
        try:
            result: T = await self._db._execute(  # type: ignore[no-untyped-call]
                function, self._db._conn, *args, **kwargs
            )
        except sqlite3.DatabaseError as error:
            raise self._explain(error) from error
        return result

    def _explain(self, error: sqlite3.DatabaseError) -> Exception:
        text = str(error)
        if "malformed" in text or "not a database" in text:
            return StateError(transactions.damaged(str(self.path), error))
        if "full" in text or "disk I/O" in text or "unable to open" in text:
            return StateError(
                f"cannot write state file {self.path}: {text}. What was finished before is kept in "
                "it: make room there (or move it and set NANOEVAL_STATE_DIR), then resume"
            )
        return error

    # --- the file

    async def initialise(self, run_set_id: str) -> None:
        await self._hop(transactions.create_schema, run_set_id)

    async def check(self) -> bool:
        return await self._hop(transactions.check_schema, str(self.path))

    async def check_pages(self) -> None:
        """Read the whole file, on a thread and connection of its own, looking for damage."""

        def check(path: Path) -> None:
            with contextlib.closing(connect(path, read_only=True)) as connection:
                transactions.check_pages(connection, str(path))

        await anyio.to_thread.run_sync(check, self.path)

    async def recover(self) -> None:
        await self._hop(transactions.recover)

    async def get_metadata(self, key: str) -> object:
        return await self._hop(transactions.get_metadata, key)

    async def set_metadata(self, key: str, value: object) -> None:
        await self._hop(transactions.set_metadata, key, value)

    # --- evals

    async def add_eval(self, new: NewEval, now: float) -> int:
        return await self._hop(transactions.add_eval, new, now)

    async def reopen_eval(self, eval_id: int, new: NewEval) -> None:
        await self._hop(transactions.reopen_eval, eval_id, new)

    async def list_evals(self) -> list[EvalRow]:
        return await self._hop(transactions.list_evals)

    async def get_eval(self, eval_id: int) -> EvalRow:
        return await self._hop(transactions.get_eval, eval_id)

    async def get_eval_spec(self, eval_id: int) -> tuple[bytes | None, bytes | None]:
        return await self._hop(transactions.get_eval_spec, eval_id)

    async def get_eval_error(self, eval_id: int) -> bytes | None:
        return await self._hop(transactions.get_eval_error, eval_id)

    async def fail_eval(self, eval_id: int, error: bytes) -> None:
        await self._hop(transactions.fail_eval, eval_id, error)

    async def stop_eval(self, eval_id: int) -> None:
        await self._hop(transactions.stop_eval, eval_id)

    async def start_eval(self, eval_id: int) -> None:
        await self._hop(transactions.start_eval, eval_id)

    async def drain_eval(self, eval_id: int) -> None:
        await self._hop(transactions.drain_eval, eval_id)

    async def finish_eval(
        self, eval_id: int, state: str, summary: str | None, elapsed: float
    ) -> None:
        await self._hop(transactions.finish_eval, eval_id, state, summary, elapsed)

    async def set_elapsed(self, elapsed: Sequence[tuple[float, int]]) -> None:
        await self._hop(transactions.set_elapsed, elapsed)

    async def set_partial_summary(self, eval_id: int, summary: str) -> None:
        await self._hop(transactions.set_partial_summary, eval_id, summary)

    async def set_concurrency(self, eval_id: int | None, limit: int | None) -> None:
        await self._hop(transactions.set_concurrency, eval_id, limit)

    # --- tasks

    async def enqueue(self, eval_id: int, tasks: Sequence[tuple[str, int, bytes]]) -> int:
        return await self._hop(transactions.enqueue, eval_id, tasks)

    async def list_queued(self, eval_id: int) -> tuple[list[StoredTask], int]:
        return await self._hop(transactions.list_queued, eval_id)

    async def list_final(
        self, eval_id: int, span: tuple[int, int], limit: int, *, payload: bool
    ) -> list[StoredTask]:
        return await self._hop(transactions.list_final, eval_id, span, limit, payload=payload)

    async def drop_tasks(self, eval_id: int, task_ids: Sequence[int]) -> None:
        await self._hop(transactions.drop_tasks, eval_id, task_ids)

    async def get_payload(self, task_id: int) -> bytes:
        return await self._hop(transactions.get_payload, task_id)

    async def sample_times(self, count: int, seed: int) -> list[TaskTimes]:
        return await self._hop(transactions.sample_times, count, seed)

    async def exchange(self, request: ExchangeRequest) -> ExchangeReply:
        if self.sink.writers and not request.with_payload:  # of the driver's own executor
            return await self._hop(exchange_and_record, request, self.sink)
        sink = self.sink if self.sink.segments is not None else None
        return await self._hop(exchange, request, sink=sink)

    async def has_no_events(self, eval_id: int, then: Callable[[], None]) -> bool:
        """Whether no logged events of an eval wait; `then` is called before any can be logged."""

        def check(connection: sqlite3.Connection) -> bool:
            if event_log.has_events(connection, eval_id):
                return False
            then()
            return True

        return await self._hop(check)

    async def in_turn(self, calls: Sequence[tuple[Callable[..., Any], Any]]) -> list[Any]:
        """Several functions of `transactions`, each with its argument, in one hop."""
        return await self._hop(transactions.in_turn, calls)

    # --- what the driver reads

    async def read_results(self, after: int, limit: int) -> list[ResultBatch]:
        return await self._hop(transactions.read_results, after, limit)

    async def last_result_seq(self) -> int:
        return await self._hop(transactions.last_result_seq)

    async def read_events(self, eval_id: int, after: int, limit: int) -> tuple[int, list[bytes]]:
        return await self._hop(event_log.read_events, shared_dir(self.path), eval_id, after, limit)

    async def events_recorded(self, eval_id: int, position: str, up_to: int) -> None:
        folder = shared_dir(self.path)
        await self._hop(event_log.events_recorded, folder, eval_id, position, up_to)

    def pass_events_in_segments(self, executor_id: int) -> None:
        """Have the events of this executor's tasks pass through files, where that is safe."""
        folder = segment_folder(self.path)
        if folder is not None:
            self.sink.segments = SegmentWriter(folder, executor_id)

    async def remove_last_segments(self) -> None:
        """Remove what executors left that was recorded; they have all ended."""
        await self._hop(remove_recorded, shared_dir(self.path), all_ended=True)

    # --- executors

    async def add_executor(self, name: str, kind: str, pid: int, host: str, log: str = "") -> int:
        return await self._hop(transactions.add_executor, name, kind, pid, host, log)

    async def set_executor_pid(self, executor_id: int, pid: int) -> None:
        await self._hop(transactions.set_executor_pid, executor_id, pid)

    async def heartbeat(self, beat: Heartbeat) -> bool:
        return await self._hop(transactions.heartbeat, beat)

    async def end_executor(self, executor_id: int, *, died: bool) -> int:
        return await self._hop(transactions.end_executor, executor_id, died=died)

    async def list_executors(self) -> list[ExecutorRow]:
        return await self._hop(transactions.list_executors)
