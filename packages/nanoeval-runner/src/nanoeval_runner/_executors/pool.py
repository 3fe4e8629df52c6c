"""Executors outside of the driver: who there is, who is idle, who has died and is replaced.

This is the supervision that all kinds share. How an executor is started, told something and
killed is its subclass's: `process_pool` has processes and pipes, `remote_pool` an engine.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

from nanoeval_core.errors import NanoevalError

from nanoeval_runner._executors.loop import Hurry
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.store import Store

log = logging.getLogger("nanoeval.runner")

STOP_SECONDS = 10.0
"""How long executors may take to leave their evals' contexts before they are killed."""

WAKE_DELAY = 0.01
"""Seconds over which results of some executors are gathered before idle ones are woken."""

MAX_BARREN_DEATHS = 3
"""How many may die in a row without a task, beyond `spare` ones, before any commits one."""

MAX_DEATHS = 16
"""How many may die in a row, beyond `spare` ones, with tasks or without."""

NAMED = 5


@dataclasses.dataclass(eq=False)
class PooledExecutor:
    """An executor of the pool.

    Attributes:
        slot: its number; its replacement gets the same.
        idle: it found nothing to claim, and waits to be woken.
        seen: which change of the state file it was last woken for.
        evals: the evals whose contexts it has not left.
    """

    name: str
    slot: int
    executor_id: int
    idle: bool = False
    seen: int = 0
    evals: set[int] = dataclasses.field(default_factory=set)


TExecutor = TypeVar("TExecutor", bound=PooledExecutor)


@dataclasses.dataclass(eq=False)
class Pool(ABC, Generic[TExecutor]):
    """The executors of one kind and run set.

    Attributes:
        on_commit: called when executors have committed results, or died.
        on_failure: called with an error when the pool cannot go on.
        hurry: how long contexts may take that are being left.
        dying_hint: where to look when executors keep dying.
        executors: those that have not ended, by name.
        changed: set when one has ended, or left a context.
        spare: how many more deaths than in a pool of one are no sign of a fault.
    """

    store: Store
    group: asyncio.TaskGroup
    on_commit: Callable[[], None]
    on_failure: Callable[[BaseException], None]
    hurry: Hurry
    dying_hint: ClassVar[str]
    executors: dict[str, TExecutor] = dataclasses.field(default_factory=dict, init=False)
    changed: asyncio.Event = dataclasses.field(default_factory=asyncio.Event, init=False)
    stopping = False
    spare = 0
    _version = 0
    _freed = 0
    _deaths = 0
    _barren_deaths = 0
    _wake_timer: asyncio.TimerHandle | None = dataclasses.field(default=None, init=False)

    # --- what the transport does

    @abstractmethod
    async def grow(self, size: int | None) -> None:
        """Have at least `size` executors, or as many as is sensible."""

    @abstractmethod
    def tell(self, executor: TExecutor, *, stop: bool = False) -> None:
        """Have it look at the state file, or stop."""

    @abstractmethod
    async def close(self) -> None:
        """Kill executors that are left: all were told to stop, and given time."""

    @abstractmethod
    def kill(self) -> None:
        """Kill every executor, now. Callable from anywhere, at any time."""

    def kill_executor(self, executor_id: int) -> None:
        """Kill an executor that went silent, where that can be done from here."""

    def inspect(self) -> None:
        """Have executors start a debugging monitor, on loopback, where that is this machine's."""

    # --- what executors do

    def free_slot(self) -> int:
        """Return the smallest number that no executor has."""
        taken = {executor.slot for executor in self.executors.values()}
        return next(slot for slot in range(len(taken) + 1) if slot not in taken)

    def joined(self, executor: TExecutor) -> None:
        executor.seen = self._version
        self.executors[executor.name] = executor

    def committed(self, results: int) -> None:
        """Note that an executor has committed results, which may have made room for others."""
        self._deaths = self._barren_deaths = 0
        self._version += 1
        self._freed += results
        self.on_commit()
        self._wake_idle_soon()

    def became_idle(self, executor: TExecutor) -> None:
        executor.idle = True
        if executor.seen < self._version:
            self._wake_idle_soon()

    def left(self, executor: TExecutor, eval_id: int) -> None:
        executor.evals.discard(eval_id)
        self.changed.set()

    def remove(self, executor: TExecutor) -> None:
        """Note that it has ended, well or not."""
        self.executors.pop(executor.name, None)
        self.changed.set()

    async def died(self, name: str, reason: str) -> bool:
        """Give the tasks of a dead executor to others.

        Returns:
            whether to start another in its place.
        """
        executor = self.executors.get(name)
        if executor is not None:
            self.remove(executor)
        if self.stopping:
            return False
        lost = 0
        if executor is not None:
            lost = await self.store.call(transactions.end_executor, executor.executor_id, died=True)
        # Deaths under tasks are the tasks' affair, up to a point: each is given up after some.
        self._deaths += 1
        self._barren_deaths += not lost
        spare = self.spare
        if self._barren_deaths > MAX_BARREN_DEATHS + spare or self._deaths > MAX_DEATHS + spare:
            what = f"executors keep dying before they finish a task (the last: {reason})"
            self.on_failure(NanoevalError(f"{what}. {self.dying_hint}"))
            return False
        log.warning(
            "executor %s died: %s; its tasks go to others, and a new one replaces it", name, reason
        )
        self.wake()
        self.on_commit()
        return True

    # --- waking

    def wake(self) -> None:
        """Have every executor look at the state file: something changed in it."""
        self._version += 1
        for executor in self.executors.values():
            self._wake_one(executor)

    def _wake_one(self, executor: TExecutor) -> None:
        executor.idle = False
        executor.seen = self._version
        self.tell(executor)

    def _wake_idle_soon(self) -> None:
        if self._wake_timer is None and not self.stopping:
            loop = asyncio.get_running_loop()
            self._wake_timer = loop.call_later(WAKE_DELAY, self._wake_idle)

    def _wake_idle(self) -> None:
        """Let as many idle executors look as results came in: each may have made room for one."""
        self._wake_timer = None
        idle = [each for each in self.executors.values() if each.idle and each.seen < self._version]
        for executor in idle[: max(1, self._freed)]:
            self._wake_one(executor)
        self._freed = 0

    # --- the end

    async def leave(self, eval_id: int) -> None:
        """Wait until no executor has the eval's context open; in a hurry, only so long."""
        self.wake()
        async with self.hurry.limit():
            while not self.stopping and any(
                eval_id in each.evals for each in self.executors.values()
            ):
                self.changed.clear()
                await self.changed.wait()

    async def stop(self, within: float) -> None:
        """Have every executor requeue its tasks and leave its contexts; kill what does not."""
        self.stopping = True
        if self._wake_timer is not None:
            self._wake_timer.cancel()
        for executor in self.executors.values():
            self.tell(executor, stop=True)
        try:
            async with asyncio.timeout(within):
                while self.executors:
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            left = list(self.executors)
            log.warning(
                "%d executors did not stop within %g s: %s",
                *(len(left), within, ", ".join(left[:NAMED])),
            )
        await self.close()
