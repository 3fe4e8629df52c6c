"""A pool of executor processes: started, woken, replaced when they die, stopped."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import dataclasses
import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import multiprocess
from nanoeval_core.errors import NanoevalError
from nanoeval_core.library_config import get_library_config

from nanoeval_runner._executors import child
from nanoeval_runner._origin import hidden_main
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.store import Store

log = logging.getLogger("nanoeval.runner")

STOP_SECONDS = 10.0
"""How long a child may take to leave its evals' contexts before it is killed."""

WAKE_DELAY = 0.01
"""Seconds over which results of some executors are gathered before idle ones are woken."""

MAX_BARREN_DEATHS = 3
"""How many children in a row may die without a task before any commits a result."""

MAX_DEATHS = 16
"""How many may die in a row, with tasks or without, before any commits a result."""


@dataclasses.dataclass(eq=False)
class _Member:
    name: str
    executor_id: int
    process: Any
    pipe: Any
    idle: bool = False
    seen: int = 0


class ProcessPool:
    """Executor processes of one engine.

    Args:
        on_change: called when a child has committed results, or died.
        on_failure: called with an error when the pool cannot go on.
    """

    def __init__(
        self,
        store: Store,
        group: asyncio.TaskGroup,
        on_change: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._group = group
        self._on_change = on_change
        self._on_failure = on_failure
        self._context = multiprocess.get_context("spawn")
        self._members: dict[str, _Member] = {}
        self._names = 0
        self._size = 0
        self._version = 0
        self._barren_deaths = 0
        self._deaths = 0
        self._stopping = False
        self._empty = asyncio.Event()
        self._wake_timer: asyncio.TimerHandle | None = None
        atexit.register(self.kill)

    async def grow(self, size: int | None) -> None:
        """Have at least `size` processes, by default one per usable core."""
        self._size = max(self._size, size or usable_cores())
        while len(self._members) < self._size:
            await self._spawn()

    async def _spawn(self) -> None:
        self._names += 1
        name = f"pool-{self._names}"
        # Announced before it is started, so that claims of the first leave work for the others.
        executor_id = await self._store.call(
            transactions.add_executor, name, child.KIND, 0, socket.gethostname()
        )
        ours, theirs = self._context.Pipe(duplex=True)
        args = child.ChildArgs(
            self._store.path, executor_id, name, os.getpid(), get_library_config()
        )
        process = self._context.Process(target=child.main, args=(args, theirs), name=name)
        with hidden_main():
            process.start()
        theirs.close()
        await self._store.call(transactions.set_executor_pid, executor_id, process.pid)
        os.set_blocking(ours.fileno(), False)
        member = _Member(name, executor_id, process, ours, seen=self._version)
        self._members[name] = member
        asyncio.get_running_loop().add_reader(ours.fileno(), self._read, member)

    # --- messages

    def _read(self, member: _Member) -> None:
        try:
            message = os.read(member.pipe.fileno(), 4096)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            asyncio.get_running_loop().remove_reader(member.pipe.fileno())
            burying = self._bury(member)
            try:
                self._group.create_task(burying, name=f"bury {member.name}")
            except RuntimeError:  # the engine has failed: its group ends, and all children with it
                burying.close()
            return
        if child.COMMITTED in message:
            self._barren_deaths = self._deaths = 0
            self._version += 1
            self._on_change()
            self._wake_idle_soon()
        if child.IDLE in message:
            member.idle = True
            if member.seen < self._version:
                self._wake_idle_soon()

    def _send(self, member: _Member, message: bytes) -> None:
        # A full pipe holds wake-ups enough; a broken one is read as a death.
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            os.write(member.pipe.fileno(), message)

    def wake(self) -> None:
        """Something changed in the state file: every child looks."""
        self._version += 1
        for member in self._members.values():
            self._wake_one(member)

    def _wake_one(self, member: _Member) -> None:
        member.idle = False
        member.seen = self._version
        self._send(member, child.WAKE)

    def _wake_idle_soon(self) -> None:
        if self._wake_timer is None:
            loop = asyncio.get_running_loop()
            self._wake_timer = loop.call_later(WAKE_DELAY, self._wake_idle)

    def _wake_idle(self) -> None:
        self._wake_timer = None
        for member in self._members.values():
            if member.idle and member.seen < self._version:
                self._wake_one(member)

    def inspect(self) -> None:
        for member in self._members.values():
            self._send(member, child.INSPECT)

    # --- deaths

    def fence(self, executor_id: int) -> None:
        """Kill a child that went silent, stopped or stuck: another then takes its place."""
        for member in self._members.values():
            if member.executor_id == executor_id and member.process.exitcode is None:
                member.process.kill()

    async def _bury(self, member: _Member) -> None:
        await anyio.to_thread.run_sync(member.process.join)
        member.pipe.close()
        code = member.process.exitcode
        del self._members[member.name]
        if not self._members:
            self._empty.set()
        if self._stopping:
            return
        # Deaths under tasks are the tasks' affair, up to a point: each is given up after some.
        lost = await self._store.call(transactions.end_executor, member.executor_id, died=True)
        self._deaths += 1
        self._barren_deaths += not lost
        if self._barren_deaths > MAX_BARREN_DEATHS or self._deaths > MAX_DEATHS:
            self._on_failure(
                NanoevalError(
                    f"executor processes keep dying before they finish a task (the last: "
                    f"{_how(code)}). Their own messages are on stderr above; a script that starts "
                    'a pool must do so under `if __name__ == "__main__":`'
                )
            )
            return
        log.warning(
            "executor %s (pid %s) died: %s; its tasks go to others, and a new process replaces it",
            member.name,
            member.process.pid,
            _how(code),
        )
        await self._spawn()
        self.wake()
        self._on_change()

    # --- the end

    async def stop(self) -> None:
        """Have every child give back its tasks and leave its contexts; kill who does not."""
        self._stopping = True
        if self._wake_timer is not None:
            self._wake_timer.cancel()
        for member in self._members.values():
            self._send(member, child.STOP)
        if self._members:
            self._empty.clear()  # it may be set: all of them may have died at once, and come back
            with anyio.move_on_after(STOP_SECONDS) as waiting:
                await self._empty.wait()
            if waiting.cancelled_caught:
                log.warning("executors did not stop within %s s: killed", STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Kill every child, now. Callable from anywhere, at any time."""
        self._stopping = True
        for member in list(self._members.values()):
            if member.process.pid is not None and member.process.exitcode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member.process.pid, signal.SIGKILL)
        atexit.unregister(self.kill)


def usable_cores() -> int:
    """The cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"killed by {signal.Signals(-exit_code).name}"
    return f"exit code {exit_code}"
