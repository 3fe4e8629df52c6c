"""A pool of executor processes on this machine: a pipe to each, and its death from the kernel."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import dataclasses
import os
import signal
import socket
import sys
import tempfile
import threading
from typing import Any

import multiprocess
from nanoeval_core.executors import MULTIPROCESS
from nanoeval_core.library_config import get_library_config
from nanoeval_core.run_context import RunContext

from nanoeval_runner._executors import executor_process
from nanoeval_runner._executors.pool import Pool, PooledExecutor
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.paths import shared_dir
from nanoeval_runner.stored_eval import hidden_main

PRELOADED = "nanoeval_runner._executors.preloaded"

LONGEST_TEMP_FOLDER = 70
"""In bytes: in it is a socket that processes are asked for at, whose path may have 107."""


@dataclasses.dataclass(eq=False, kw_only=True)
class ExecutorProcess(PooledExecutor):
    """An executor in a process of its own."""

    process: Any
    pipe: Any
    unread: bytes = b""


@dataclasses.dataclass(eq=False)
class ProcessPool(Pool[ExecutorProcess]):
    """Starts executor processes and replaces those that die."""

    dying_hint = (
        "Their own messages are on stderr above; a script that starts a pool must do so under "
        '`if __name__ == "__main__":`'
    )

    def __post_init__(self) -> None:
        self._context = _context()
        self._names = 0
        self._size = 0
        self._growing = asyncio.Lock()
        atexit.register(self.kill)

    async def grow(self, size: int | None) -> None:
        """Have at least `size` processes, by default one per usable core."""
        self._size = max(self._size, size or usable_cores())
        async with self._growing:  # runs that begin together each ask for the same processes
            while len(self.executors) < self._size:
                await self._spawn()

    async def _spawn(self) -> None:
        self._names += 1
        name = f"pool-{self._names}"
        # Announced before it is started, so that claims of the first leave work for the others.
        executor_id = await self.store.call(
            transactions.add_executor, name, MULTIPROCESS, 0, socket.gethostname()
        )
        ours, theirs = self._context.Pipe(duplex=True)
        loop = asyncio.get_running_loop()
        path, slot = self.store.path, self.free_slot()  # of one that died, if this takes its place
        config = get_library_config()
        args = executor_process.ProcessArgs(
            path=path,
            executor_id=executor_id,
            run_context=RunContext(
                run_set_id=path.stem, shared_dir=shared_dir(path), executor=name, slot=slot
            ),
            driver_pid=os.getpid(),
            environment=dict(os.environ),
            library_config=config,
            sets_up_logging=executor_process.wants_logging(config),
            loop_factory=type(loop) if type(loop).__module__ == "uvloop" else None,
        )
        process = self._context.Process(
            target=executor_process.main, args=(args, theirs), name=name
        )
        with hidden_main():
            process.start()
        theirs.close()
        os.set_blocking(ours.fileno(), False)
        executor = ExecutorProcess(name, slot, executor_id, process=process, pipe=ours)
        self.joined(executor)
        loop.add_reader(ours.fileno(), self._read, executor)
        self._watch(executor)
        await self.store.call(transactions.set_executor_pid, executor_id, process.pid)

    # --- messages

    def _read(self, executor: ExecutorProcess) -> bool:
        """Read what it says, if it does; return whether it did."""
        try:
            message = os.read(executor.pipe.fileno(), 65536)
        except BlockingIOError:
            return False
        except OSError:
            message = b""
        if not message:  # it closed the pipe; the kernel tells when it has died
            asyncio.get_running_loop().remove_reader(executor.pipe.fileno())
            return False
        *lines, executor.unread = (executor.unread + message).split(b"\n")
        for line in lines:
            word, *more = line.decode().split()
            if word == executor_process.COMMITTED:
                self.committed(len(self.executors))
            elif word == executor_process.IDLE:
                self.became_idle(executor)
            elif word == executor_process.OPENED:
                executor.evals.add(int(more[0]))
            elif word == executor_process.LEFT:
                self.left(executor, int(more[0]))
        return True

    def tell(self, executor: ExecutorProcess, *, stop: bool = False) -> None:
        self._send(executor, executor_process.STOP if stop else executor_process.WAKE)

    def inspect(self) -> None:
        for executor in self.executors.values():
            self._send(executor, executor_process.INSPECT)

    def _send(self, executor: ExecutorProcess, message: bytes) -> None:
        # A full pipe holds wake-ups enough; a broken one belongs to a process that is dying.
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            os.write(executor.pipe.fileno(), message)

    # --- deaths

    def _watch(self, executor: ExecutorProcess) -> None:
        """Have `_ended` called when the process dies, whatever it started and left behind.

        Not by the end of its pipe: processes that tasks start inherit that, and keep it open.
        """
        loop = asyncio.get_running_loop()
        if hasattr(os, "pidfd_open"):
            pidfd = os.pidfd_open(executor.process.pid)

            def died() -> None:
                loop.remove_reader(pidfd)
                os.close(pidfd)
                self._ended(executor)

            loop.add_reader(pidfd, died)
            return

        def wait() -> None:
            executor.process.join()
            with contextlib.suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(self._ended, executor)

        threading.Thread(target=wait, name=f"wait {executor.name}", daemon=True).start()

    def _ended(self, executor: ExecutorProcess) -> None:
        replacing = self._replace(executor)
        try:
            self.group.create_task(replacing, name=f"replace {executor.name}")
        except RuntimeError:  # the run set has failed: its group ends, and all children with it
            replacing.close()

    async def _replace(self, executor: ExecutorProcess) -> None:
        executor.process.join()  # it is dead: this only fetches its exit code
        while self._read(executor):
            pass
        asyncio.get_running_loop().remove_reader(executor.pipe.fileno())
        executor.pipe.close()
        reason = f"pid {executor.process.pid}, {_how(executor.process.exitcode)}"
        if await self.died(executor.name, reason) and len(self.executors) < self._size:
            await self._spawn()
            self.wake()

    def kill_executor(self, executor_id: int) -> None:
        for executor in self.executors.values():
            if executor.executor_id == executor_id and executor.process.exitcode is None:
                executor.process.kill()

    # --- the end

    async def close(self) -> None:
        self.kill()

    def kill(self) -> None:
        self.stopping = True
        self.changed.set()
        for executor in list(self.executors.values()):
            if executor.process.exitcode is None:
                executor.process.kill()
        atexit.unregister(self.kill)


def _context() -> Any:
    """Return how processes are started: forked from one that has imported what they need.

    That one is started with a program's first pool, and ends with the program. It is no copy of
    the program: forking that, with its threads and locks, is not safe.
    """
    # Elsewhere the system's own libraries do not survive a fork.
    if sys.platform != "linux" or len(os.fsencode(tempfile.gettempdir())) > LONGEST_TEMP_FOLDER:
        return multiprocess.get_context("spawn")
    context = multiprocess.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    return context


def usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"killed by {signal.Signals(-exit_code).name}"
    return f"exit code {exit_code}"
