"""A thread of each executor: heartbeats, blocked event loops, quiet minutes.

It is a thread because it must go on when the event loop does not: an eval that computes in its
`async` code holds up the loop, and must lose neither its lease nor the user's attention.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.connection import connect
from nanoeval_runner._queue.rows import Heartbeat

if TYPE_CHECKING:
    from nanoeval_runner._executors.attempts import Attempt
    from nanoeval_runner._executors.loop import ExecutorLoop
    from nanoeval_runner._queue.store import Store

log = logging.getLogger("nanoeval.runner")

HEARTBEAT_SECONDS = 1.0
BLOCKED_SECONDS = 2.0
"""How long the event loop may go without a turn before what holds it is named."""

QUIET_SECONDS = 60.0
"""How long nothing may finish before the slowest attempts are named."""

CONTEXT_SECONDS = 8.0
"""How long entering or leaving an eval's context may take before its place is named."""

NAMED = 5
PUBLISHED = 20


class Watchdog:
    """Watches one executor loop from a thread; use it with `with`.

    Args:
        publish: publishes a heartbeat; returns False when the executor was declared dead.
    """

    def __init__(self, loop: ExecutorLoop, publish: Callable[[Heartbeat], bool]) -> None:
        self._executor = loop
        self._publish = publish
        self._event_loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nanoeval-watchdog", daemon=True)
        self._asked_at: float | None = None  # the event loop, which has not answered yet
        self._blocked_named_at = -QUIET_SECONDS
        self._quiet_named_at = 0.0
        self._context_next = CONTEXT_SECONDS
        self._snapshot = Heartbeat(executor_id=loop.executor_id, in_flight=0)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            self._tick()

    def _tick(self) -> None:
        """Send one heartbeat, and look once at the event loop."""
        try:
            if not self._publish(self._snapshot):
                self._event_loop.call_soon_threadsafe(self._executor.wake)
        except Exception as error:  # noqa: BLE001  a full disk must not silence the watchdog
            log.warning(
                "executor %s: heartbeat failed: %s", self._executor.run_context.executor, error
            )
        asked_at = self._asked_at  # `_answer` may change it meanwhile
        if asked_at is None:
            self._asked_at = time.monotonic()
            try:
                self._event_loop.call_soon_threadsafe(self._answer)
            except RuntimeError:  # the loop has been closed: its executor is over
                self._stop.set()
        elif (seconds := time.monotonic() - asked_at) >= BLOCKED_SECONDS:
            self._name_block(seconds)

    def _answer(self) -> None:
        """Note, on the event loop, that it is alive; take a snapshot, and look for quiet."""
        self._asked_at = None
        slowest = self._executor.slowest(PUBLISHED)
        running = [
            {"task": a.name, "seconds": round(a.seconds, 1), "where": a.where()} for a in slowest
        ]
        self._snapshot = Heartbeat(
            executor_id=self._executor.executor_id,
            in_flight=self._executor.in_flight,
            gauges=json.dumps(self._executor.run_context.gauges),
            running=json.dumps(running),
        )
        self._name_quiet(slowest)
        self._name_contexts()

    def _name_contexts(self) -> None:
        """Name contexts that take long to enter or leave, after 8 seconds, 16, 32, …"""
        if not self._executor.moving_contexts(CONTEXT_SECONDS):
            self._context_next = CONTEXT_SECONDS
        elif slow := self._executor.moving_contexts(self._context_next):
            self._context_next *= 2
            log.warning("executor %s: %s", self._executor.run_context.executor, "; ".join(slow))

    def _name_quiet(self, slowest: list[Attempt]) -> None:
        """Name the slowest attempts after a quiet minute, then after two, four, eight, …"""
        now, since = time.monotonic(), self._executor.last_progress
        enough = max(QUIET_SECONDS, 2 * (self._quiet_named_at - since))
        if slowest and slowest[0].seconds >= QUIET_SECONDS and now - since >= enough:
            self._quiet_named_at = now
            names = "\n  ".join(a.describe() for a in slowest[:NAMED])
            log.warning(
                "nothing has finished for %.0f s; running longest:\n  %s", now - since, names
            )

    def _name_block(self, seconds: float) -> None:
        """Name what holds the event loop; at most once a minute, for some evals mean to."""
        now = time.monotonic()
        if now - self._blocked_named_at < QUIET_SECONDS:
            return
        self._blocked_named_at = now
        frame = sys._current_frames().get(self._loop_thread)
        stack = "".join(traceback.format_stack(frame)[-8:]) if frame is not None else ""
        task = asyncio.current_task(self._event_loop)
        running = next((a.name for a in self._executor.slowest(10**6) if a.runner is task), None)
        who = f"task {running!r}" if running else "code outside of any task"
        log.warning(
            "the event loop has been blocked for %.1f s by %s; nothing else runs meanwhile. Await "
            "instead of computing or sleeping in `async` code, use asyncio.to_thread, or run with "
            "experimental_use_multiprocessing=True. It is at:\n%s",
            *(seconds, who, stack),
        )


async def run_watched(executor: ExecutorLoop, store: Store) -> None:
    """Run an executor to its end, its heartbeats going to the state file."""
    with contextlib.ExitStack() as stack:
        # Of their own, for the store's may wait; opened for the first of them.
        opened = functools.cache(
            lambda: stack.enter_context(contextlib.closing(connect(store.path)))
        )
        with Watchdog(executor, lambda heartbeat: transactions.heartbeat(opened(), heartbeat)):
            await executor.run()
    if not executor.fenced:
        await store.call(transactions.end_executor, executor.executor_id, died=False)
