"""What runs in a process of the pool: an executor loop that ends with its parent."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nanoeval_core.errors import StateError
from nanoeval_core.library_config import LibraryConfig, set_library_config
from nanoeval_core.run_context import RunContext

from nanoeval_runner import _origin as origin
from nanoeval_runner._executors.loaded_eval import LoadedEval
from nanoeval_runner._executors.loop import ExecutorLoop
from nanoeval_runner._executors.watchdog import HeartbeatConnection, Watchdog
from nanoeval_runner._inspection import start_aiomonitor
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.paths import shared_dir
from nanoeval_runner._queue.rows import Completion
from nanoeval_runner._queue.store import Store
from nanoeval_runner.run_log import RunLog

KIND = "multiprocess"

# One-byte messages between a pool and its children.
WAKE = b"w"
STOP = b"s"
INSPECT = b"m"
COMMITTED = b"c"
IDLE = b"i"

ORPHANED = 3
"""The exit code of a child whose parent is gone."""


@dataclasses.dataclass(frozen=True)
class ChildArgs:
    """What a child is started with."""

    path: Path
    executor_id: int
    name: str
    parent_pid: int
    library_config: LibraryConfig


def main(args: ChildArgs, pipe: Any) -> None:
    """The process's main: ends when told to, when fenced, or when the parent is gone.

    Args:
        pipe: this end of a duplex `multiprocess` pipe. The parent closes the other by dying.
    """
    # Ctrl-C reaches the whole terminal group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with_parent(args.parent_pid)
    set_library_config(args.library_config)
    try:
        asyncio.run(_serve_logged(args, pipe))
    except StateError as error:  # a full disk: the parent meets it too, and ends the run
        sys.exit(f"executor {args.name}: {error}")


def _die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies, where it can do that.

    The pipe does the same everywhere, as long as Python threads get to run; this also covers
    native code that never lets go of the interpreter.
    """
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415  only here

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent_pid:
        os._exit(ORPHANED)


def _listen(fd: int, on_message: Callable[[bytes], None]) -> None:
    """Read the parent's messages until it is gone; then so is this process."""
    while True:
        try:
            message = os.read(fd, 256)
        except OSError:
            message = b""
        if not message:
            os._exit(ORPHANED)
        on_message(message)


class _Events:
    """Tells the parent, in single bytes. A full pipe means it has plenty to read already."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def _send(self, message: bytes) -> None:
        # BrokenPipeError: the parent is gone, and the listening thread ends this process.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._fd, message)

    def committed(self, completions: Sequence[Completion]) -> None:
        self._send(COMMITTED)

    def idle(self) -> None:
        self._send(IDLE)

    def eval_failed(self, eval_id: int, error: BaseException) -> None:
        self._send(COMMITTED)


class _Loader:
    """Evals as they are pickled in the state file."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, eval_id: int) -> LoadedEval:
        # A pool that resumes: the main module of this process is not the script of the eval.
        origin.restore_origin((await self._store.call(transactions.get_eval, eval_id)).origin)
        spec, encoder = await self._store.call(transactions.get_eval_spec, eval_id)
        assert spec is not None  # noqa: S101  the driver refuses to pool what it cannot pickle
        assert encoder is not None  # noqa: S101
        return LoadedEval.from_pickles(spec, encoder)

    def wants(self, eval_id: int) -> bool:
        return True

    def context(self, eval_id: int) -> contextvars.Context | None:
        return None


async def _serve_logged(args: ChildArgs, pipe: Any) -> None:
    run_log = RunLog(args.path.stem, executor=args.name)
    run_log.open()
    try:
        await _serve(args, pipe)
    finally:
        await run_log.finish()


async def _serve(args: ChildArgs, pipe: Any) -> None:
    loop = asyncio.get_running_loop()
    reading, writing = pipe.fileno(), os.dup(pipe.fileno())
    async with Store(args.path) as store:
        store.pass_events_in_segments(args.executor_id)
        executor = ExecutorLoop(
            executor_id=args.executor_id,
            kind=KIND,
            source=store,
            loader=_Loader(store),
            events=_Events(writing),
            run_context=RunContext(
                run_set_id=args.path.stem, shared_dir=shared_dir(args.path), executor=args.name
            ),
            in_driver=False,
        )

        def on_message(message: bytes) -> None:
            if STOP in message:
                loop.call_soon_threadsafe(lambda: executor.stop(release=True))
            if INSPECT in message:
                asyncio.run_coroutine_threadsafe(start_aiomonitor(executor.run_context), loop)
            loop.call_soon_threadsafe(executor.wake)

        threading.Thread(target=_listen, args=(reading, on_message), daemon=True).start()
        with (
            contextlib.closing(HeartbeatConnection(args.path)) as heartbeats,
            Watchdog(executor, heartbeats.beat),
        ):
            await executor.run()
        if not executor.fenced:
            await store.call(transactions.end_executor, args.executor_id, died=False)
