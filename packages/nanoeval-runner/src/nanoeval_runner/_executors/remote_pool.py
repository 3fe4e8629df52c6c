"""Executors that an engine starts elsewhere: the driver answers their messages.

A message is a verb and its arguments, pickled. Every executor says, in this order:

hello       name, pid, host, path of its log → `Welcome`, or None: it is to end
exchange    name, `ExchangeRequest` → `ExchangeReply`
load        name, eval id → `StoredSpec`; the eval's context is opened then
left        name, eval id, and what `dump_failure` gave if that ends the eval → None
beat        `Heartbeat` → False if it was declared dead
wait        name → whether to stop, once there is something to do
bye         name, its tasks being requeued and its contexts left → None
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import pickle
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from nanoeval_core import pickling
from nanoeval_core.executors import ExecutorConfig
from nanoeval_core.library_config import get_library_config

from nanoeval_runner._executors.pool import Pool, PooledExecutor
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.rows import ExchangeReply, ExchangeRequest, StoredSpec


class Welcome(NamedTuple):
    """What an executor is told first.

    Attributes:
        executor_id: its row in the state file.
        slot: its number among the executors; what replaces a dead one inherits it.
        library_config: the driver's, pickled.
    """

    executor_id: int
    pool: str
    slot: int
    run_set_id: str
    library_config: bytes


_Call = tuple[Callable[..., Any], Any, asyncio.Future[Any]]
"""A transaction, its argument, and who waits for what it returns."""


@dataclasses.dataclass(eq=False, kw_only=True)
class RemoteExecutor(PooledExecutor):
    """An executor that an engine started.

    Attributes:
        told: set when it is to look at the queue, or to stop.
    """

    told: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)


@dataclasses.dataclass(eq=False)
class RemotePool(Pool[RemoteExecutor]):
    """Executors of one engine and run set. It is the `ExecutorHost` of the engine."""

    dying_hint = "What they wrote is above, or where the engine keeps their logs"
    config: ExecutorConfig

    def __post_init__(self) -> None:
        self._answers: dict[str, Callable[..., Awaitable[Any]]] = {
            "hello": self._welcome,
            "exchange": self._exchange,
            "load": self._load,
            "left": self._left,
            "beat": functools.partial(self._in_turn, transactions.heartbeat),
            "wait": self._wait,
            "bye": self._bye,
        }
        self._lost: set[str] = set()
        self._queue: list[_Call] = []
        self._writing = asyncio.Lock()
        self._library_config = pickling.dumps(
            get_library_config(), what="the LibraryConfig", by_value=True
        )
        self._engine = self.config.engine(self)

    async def grow(self, size: int | None) -> None:
        await self._engine.grow(size)

    def tell(self, executor: RemoteExecutor, *, stop: bool = False) -> None:
        executor.told.set()

    async def close(self) -> None:
        await self._engine.stop()

    def kill(self) -> None:
        self.stopping = True
        self.changed.set()
        self._engine.kill()

    # --- ExecutorHost

    @property
    def run_set_id(self) -> str:
        return self.store.path.stem

    def start_task(self, coroutine: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        return self.group.create_task(coroutine, name=name)

    def fail(self, error: BaseException) -> None:
        self.on_failure(error)

    async def lost(self, executor: str, reason: str) -> bool:
        self._lost.add(executor)
        return await self.died(executor, reason)

    async def handle(self, message: bytes) -> bytes:
        verb, *arguments = pickle.loads(message)
        answer = await self._answers[verb](*arguments)
        return pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)

    # --- executors come and go

    async def _welcome(self, name: str, pid: int, host: str, log_path: str) -> Welcome | None:
        if self.stopping or name in self._lost:
            return None
        executor_id = await self.store.call(
            transactions.add_executor, name, self.config.name, pid, host, log_path
        )
        executor = RemoteExecutor(name, self.free_slot(), executor_id)
        self.joined(executor)
        self.spare = max(self.spare, len(self.executors))
        return Welcome(
            executor_id, self.config.name, executor.slot, self.run_set_id, self._library_config
        )

    async def _load(self, name: str, eval_id: int) -> StoredSpec:
        if name in self.executors:
            self.executors[name].evals.add(eval_id)
        return await self.store.call(transactions.get_eval_spec, eval_id)

    async def _left(self, name: str, eval_id: int, error: bytes | None = None) -> None:
        if error is not None:
            await self.store.call(transactions.fail_eval, eval_id, error)
            self.on_commit()
        if name in self.executors:
            self.left(self.executors[name], eval_id)

    async def _bye(self, name: str) -> None:
        executor = self.executors.get(name)
        if executor is not None:
            await self.store.call(transactions.end_executor, executor.executor_id, died=False)
            self.remove(executor)

    def remove(self, executor: RemoteExecutor) -> None:
        super().remove(executor)
        executor.told.set()

    # --- exchanges: many executors' in one hop to the store's thread

    async def _in_turn(self, transaction: Callable[..., Any], argument: Any) -> Any:
        answer = asyncio.get_running_loop().create_future()
        self._queue.append((transaction, argument, answer))
        if len(self._queue) == 1:
            self.group.create_task(self._write_queued(), name="exchange")
        return await answer

    async def _write_queued(self) -> None:
        async with self._writing:  # meanwhile more are queued
            batch, self._queue = self._queue, []
            try:
                replies = await self.store.call(_each, batch)
            except BaseException:
                for _, _, answer in batch:
                    answer.cancel()
                raise
        for (_, _, answer), reply in zip(batch, replies, strict=True):
            if not answer.done():
                answer.set_result(reply)

    async def _exchange(self, name: str, request: ExchangeRequest) -> ExchangeReply:
        reply: ExchangeReply = await self._in_turn(transactions.exchange, request)
        if request.completions:
            self.committed(len(request.completions))
        executor = self.executors.get(name)
        if executor is not None:
            # It looked just now: what it has not seen is what changes from here on.
            executor.seen, executor.idle = self._version, len(reply.leases) < request.want
        return reply

    async def _wait(self, name: str) -> bool:
        """Answer once it is to look at the queue (False) or to stop (True)."""
        executor = self.executors.get(name)
        if executor is not None and not self.stopping:
            await executor.told.wait()
            executor.told.clear()
        return self.stopping or name not in self.executors


def _each(connection: sqlite3.Connection, batch: Sequence[_Call]) -> list[Any]:
    return [transaction(connection, argument) for transaction, argument, _ in batch]
