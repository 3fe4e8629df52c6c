"""The executor inside the driver: tasks and results pass as objects, never unpickled."""

from __future__ import annotations

import contextlib
import os
import socket

from nanoeval_core.run_context import RunContext

from nanoeval_runner._executors.loop import ExecutorLoop
from nanoeval_runner._executors.protocol import EvalLoader, ExecutorEvents, TaskSource
from nanoeval_runner._executors.watchdog import HeartbeatConnection, Watchdog
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.paths import shared_dir
from nanoeval_runner._queue.store import Store

KIND = "in_process"


class InProcessExecutor:
    """Runs an `ExecutorLoop` on the event loop of the driver."""

    def __init__(
        self, store: Store, source: TaskSource, loader: EvalLoader, events: ExecutorEvents
    ) -> None:
        self._store = store
        self._source = source
        self._loader = loader
        self._events = events
        self.loop: ExecutorLoop | None = None

    async def start(self) -> None:
        executor_id = await self._store.call(
            transactions.add_executor, "main", KIND, os.getpid(), socket.gethostname()
        )
        self.loop = ExecutorLoop(
            executor_id=executor_id,
            kind=KIND,
            source=self._source,
            loader=self._loader,
            events=self._events,
            run_context=RunContext(
                run_set_id=self._store.path.stem,
                shared_dir=shared_dir(self._store.path),
                executor="main",
            ),
            in_driver=True,
        )

    async def serve(self) -> None:
        """Run until the loop is stopped."""
        assert self.loop is not None  # noqa: S101  start() came first
        with (
            contextlib.closing(HeartbeatConnection(self._store.path)) as heartbeats,
            Watchdog(self.loop, heartbeats.beat),
        ):
            await self.loop.run()
        await self._store.call(transactions.end_executor, self.loop.executor_id, died=False)
