"""What runs in a process of the pool: an executor loop that ends with its driver."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nanoeval_core.errors import StateError
from nanoeval_core.executors import MULTIPROCESS
from nanoeval_core.library_config import LibraryConfig, set_library_config
from nanoeval_core.run_context import RunContext

from nanoeval_runner._executors.loop import ExecutorLoop
from nanoeval_runner._executors.source import LoadedEval, TaskSource, load_eval
from nanoeval_runner._executors.watchdog import run_watched
from nanoeval_runner._failures import dump_failure
from nanoeval_runner._inspection import start_aiomonitor
from nanoeval_runner._interrupts import run_to_its_end
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.paths import on_memory_file_system, shared_dir
from nanoeval_runner._queue.rows import ExchangeReply, ExchangeRequest
from nanoeval_runner._queue.store import Store
from nanoeval_runner.run_log import RunLog
from nanoeval_runner.stored_eval import restore_origin

SLOT_VARIABLE = "NANOEVAL_EXECUTOR_SLOT"

# What the driver tells an executor: one byte each.
WAKE = b"w"
STOP = b"s"
INSPECT = b"m"

# What an executor tells the driver: a line each, the last two with an eval's id.
COMMITTED = "committed"
IDLE = "idle"
OPENED = "opened"
LEFT = "left"

ORPHANED = 3
"""The exit code of a process whose driver is gone."""

DRIVER_SECONDS = 1.0
"""How often a process looks whether its driver lives, where nothing else would tell it."""


@dataclasses.dataclass(frozen=True)
class ProcessArgs:
    """What an executor process is started with.

    Attributes:
        driver_pid: the process that it ends with.
        environment: the driver's, as it is now.
        sets_up_logging: the driver's logging is set up, so the process's is to be: see
            `wants_logging`.
        loop_factory: makes its event loop, where that is to be another than asyncio's.
    """

    path: Path
    executor_id: int
    run_context: RunContext
    driver_pid: int
    environment: dict[str, str]
    library_config: LibraryConfig
    sets_up_logging: bool
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None


def wants_logging(config: LibraryConfig) -> bool:
    """Return whether executor processes call the hook: a team's own always, ours where it was used.

    It loads structlog, which takes a tenth of the time in which a process starts.
    """
    return (
        type(config).setup_logging is not LibraryConfig.setup_logging or "structlog" in sys.modules
    )


def main(args: ProcessArgs, pipe: Any) -> None:
    """Run one executor until told to stop, fenced, or the driver is gone.

    Args:
        pipe: this end of a duplex `multiprocess` pipe. The driver closes the other by dying.
    """
    # Ctrl-C reaches the whole terminal group; the driver decides what it means. A handler and not
    # SIG_IGN: processes that tasks start would inherit that, and no Ctrl-C would reach them.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_driver()
    _end_with(args.driver_pid)
    # That of the process it was forked from is older.
    os.environ.clear()
    os.environ.update(args.environment, **{SLOT_VARIABLE: str(args.run_context.slot)})
    set_library_config(args.library_config)
    if args.sets_up_logging:
        args.library_config.setup_logging()
    try:
        run_to_its_end(
            _serve(args, pipe), may_exit=lambda loop: False, loop_factory=args.loop_factory
        )
    except StateError as error:  # a full disk: the driver meets it too, and ends the run
        sys.stderr.write(f"executor {args.run_context.executor}: {error}\n")
        _leave(1)
    _leave(0)


def _leave(code: int) -> None:
    """End the process now: threads that tasks left behind do not hold it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def die_with_driver() -> None:
    """Have the kernel kill this process with the one that started it: driver, or fork server.

    The kernel also reaches native code that never lets go of the interpreter.
    """
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415  only here

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _end_with(driver_pid: int) -> None:
    """End this process with the driver, whether or not that started it.

    The pipe's end tells the same, unless a process that the driver forked holds it open.
    """

    def watch() -> None:
        with contextlib.suppress(ProcessLookupError):  # it is gone already
            if hasattr(os, "pidfd_open"):
                select.select([os.pidfd_open(driver_pid)], [], [])
            else:  # the driver started it
                never = threading.Event()
                while os.getppid() == driver_pid:
                    never.wait(DRIVER_SECONDS)
        os._exit(ORPHANED)

    threading.Thread(target=watch, name="nanoeval-driver", daemon=True).start()


def _listen(fd: int, on_message: Callable[[bytes], None]) -> None:
    """Read the driver's messages until it is gone; then so is this process."""
    while True:
        try:
            message = os.read(fd, 256)
        except OSError:
            message = b""
        if not message:
            os._exit(ORPHANED)
        on_message(message)


class StateFileSource(TaskSource):
    """The state file itself, and a pipe to tell the driver what changed in it."""

    def __init__(self, store: Store, pipe: int) -> None:
        self._store = store
        self._pipe = pipe
        folder = shared_dir(store.path)
        self._event_folder = folder if on_memory_file_system(folder) else None

    def _tell(self, word: str, *more: int) -> None:
        # BrokenPipeError: the driver is gone, and the listening thread ends this process.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            os.write(self._pipe, (" ".join([word, *map(str, more)]) + "\n").encode())

    async def exchange(self, request: ExchangeRequest) -> ExchangeReply:
        reply = await self._store.call(
            transactions.exchange, request, event_folder=self._event_folder
        )
        if request.completions:
            self._tell(COMMITTED)
        if len(reply.leases) < request.want:
            self._tell(IDLE)
        return reply

    async def load(self, eval_id: int) -> LoadedEval:
        self._tell(OPENED, eval_id)
        stored = await self._store.call(transactions.get_eval_spec, eval_id)
        # A pool that resumes: the main module of this process is not the script of the eval.
        restore_origin(stored.origin)
        return load_eval(stored)

    async def fail_eval(self, eval_id: int, error: BaseException) -> None:
        await self._store.call(transactions.fail_eval, eval_id, dump_failure(error))
        self._tell(COMMITTED)

    def left(self, eval_id: int) -> None:
        self._tell(LEFT, eval_id)


async def _serve(args: ProcessArgs, pipe: Any) -> None:
    loop = asyncio.get_running_loop()
    run_log = RunLog(args.run_context.run_set_id, executor=args.run_context.executor)
    try:
        async with Store(args.path) as store:
            executor = ExecutorLoop(
                executor_id=args.executor_id,
                pool=MULTIPROCESS,
                source=StateFileSource(store, os.dup(pipe.fileno())),
                run_context=args.run_context,
            )

            def on_message(message: bytes) -> None:
                if STOP in message:
                    loop.call_soon_threadsafe(executor.stop)
                if INSPECT in message:
                    asyncio.run_coroutine_threadsafe(start_aiomonitor(executor.run_context), loop)
                loop.call_soon_threadsafe(executor.wake)

            threading.Thread(target=_listen, args=(pipe.fileno(), on_message), daemon=True).start()
            await run_watched(executor, store)
    finally:
        run_log.finish()
