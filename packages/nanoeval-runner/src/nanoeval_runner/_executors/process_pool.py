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
from collections.abc import Callable
from typing import Any

import multiprocess
from nanoeval_core.executors import MULTIPROCESS
from nanoeval_core.library_config import get_library_config

from nanoeval_runner._executors import child
from nanoeval_runner._executors.pool import Pool, PoolMember
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.store import Store
from nanoeval_runner.stored_eval import hidden_main

PRELOADED = "nanoeval_runner._executors.preloaded"

LONGEST_TEMP_FOLDER = 70
"""In bytes: in it is a socket that processes are asked for at, whose path may have 107."""


@dataclasses.dataclass(eq=False, kw_only=True)
class ExecutorProcess(PoolMember):
    """An executor in a process of its own."""

    process: Any
    pipe: Any
    unread: bytes = b""


class ProcessPool(Pool):
    """Starts executor processes and replaces those that die."""

    dying_hint = (
        "Their own messages are on stderr above; a script that starts a pool must do so under "
        '`if __name__ == "__main__":`'
    )

    def __init__(
        self,
        store: Store,
        group: asyncio.TaskGroup,
        on_commit: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        super().__init__(store, group, on_commit, on_failure)
        self._context = _context()
        self._names = 0
        self._size = 0
        self._growing = asyncio.Lock()
        self._processes: dict[str, ExecutorProcess] = {}
        atexit.register(self.kill)

    async def grow(self, size: int | None) -> None:
        """Have at least `size` processes, by default one per usable core."""
        self._size = max(self._size, size or usable_cores())
        async with self._growing:  # runs that begin together each ask for the same processes
            while len(self.members) < self._size:
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
        slot = self.free_slot()  # of one that died, if this takes its place
        config = get_library_config()
        args = child.ChildArgs(
            path=self.store.path,
            executor_id=executor_id,
            name=name,
            slot=slot,
            driver_pid=os.getpid(),
            environment=dict(os.environ),
            library_config=config,
            sets_up_logging=child.wants_logging(config),
            loop_factory=type(loop) if type(loop).__module__ == "uvloop" else None,
        )
        process = self._context.Process(target=child.main, args=(args, theirs), name=name)
        with hidden_main():
            process.start()
        theirs.close()
        os.set_blocking(ours.fileno(), False)
        member = ExecutorProcess(name, slot, executor_id, process=process, pipe=ours)
        self._processes[name] = member
        self.joined(member)
        loop.add_reader(ours.fileno(), self._read, member)
        self._watch(member)
        await self.store.call(transactions.set_executor_pid, executor_id, process.pid)

    # --- messages

    def _read(self, member: ExecutorProcess) -> None:
        try:
            message = os.read(member.pipe.fileno(), 65536)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:  # it closed the pipe; the kernel tells when it has died
            asyncio.get_running_loop().remove_reader(member.pipe.fileno())
            return
        *lines, member.unread = (member.unread + message).split(b"\n")
        for line in lines:
            word, *more = line.decode().split()
            if word == child.COMMITTED:
                self.committed(len(self.members))
            elif word == child.IDLE:
                self.became_idle(member)
            elif word == child.OPENED:
                member.evals.add(int(more[0]))
            elif word == child.LEFT:
                self.left(member, int(more[0]))

    def tell(self, member: PoolMember, *, stop: bool = False) -> None:
        self._send(self._processes[member.name], child.STOP if stop else child.WAKE)

    def inspect(self) -> None:
        for member in self._processes.values():
            self._send(member, child.INSPECT)

    def _send(self, member: ExecutorProcess, message: bytes) -> None:
        # A full pipe holds wake-ups enough; a broken one belongs to a process that is dying.
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            os.write(member.pipe.fileno(), message)

    # --- deaths

    def _watch(self, member: ExecutorProcess) -> None:
        """Have `_ended` called when the process dies, whatever it started and left behind.

        Not by the end of its pipe: processes that tasks start inherit that, and keep it open.
        """
        loop = asyncio.get_running_loop()
        if hasattr(os, "pidfd_open"):
            pidfd = os.pidfd_open(member.process.pid)

            def died() -> None:
                loop.remove_reader(pidfd)
                os.close(pidfd)
                self._ended(member)

            loop.add_reader(pidfd, died)
            return

        def wait() -> None:
            member.process.join()
            with contextlib.suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(self._ended, member)

        threading.Thread(target=wait, name=f"wait {member.name}", daemon=True).start()

    def _ended(self, member: ExecutorProcess) -> None:
        replacing = self._replace(member)
        try:
            self.group.create_task(replacing, name=f"replace {member.name}")
        except RuntimeError:  # the run set has failed: its group ends, and all children with it
            replacing.close()

    async def _replace(self, member: ExecutorProcess) -> None:
        member.process.join()  # it is dead: this only fetches its exit code
        with contextlib.suppress(ValueError, OSError):
            asyncio.get_running_loop().remove_reader(member.pipe.fileno())
        self._read_rest(member)
        member.pipe.close()
        del self._processes[member.name]
        reason = f"pid {member.process.pid}, {_how(member.process.exitcode)}"
        if await self.died(member, member.name, reason) and len(self.members) < self._size:
            await self._spawn()
            self.wake()

    def _read_rest(self, member: ExecutorProcess) -> None:
        """Read what it said last: that it left a context, say."""
        with contextlib.suppress(OSError):
            while b"\n" in (said := os.read(member.pipe.fileno(), 65536)):
                if child.COMMITTED.encode() in said:
                    self.committed(len(self.members))

    def fence(self, executor_id: int) -> None:
        for member in self._processes.values():
            if member.executor_id == executor_id and member.process.exitcode is None:
                member.process.kill()

    # --- the end

    async def end(self) -> None:
        self.kill()

    def kill(self) -> None:
        self.stopping = True
        self.changed.set()
        for member in list(self._processes.values()):
            if member.process.pid is not None and member.process.exitcode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member.process.pid, signal.SIGKILL)
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
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"killed by {signal.Signals(-exit_code).name}"
    return f"exit code {exit_code}"
