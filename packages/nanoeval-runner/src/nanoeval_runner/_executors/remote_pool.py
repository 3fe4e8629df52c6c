"""The driver's side of executors that an engine starts elsewhere: their queue, and their end."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from nanoeval_core import pickling
from nanoeval_core.errors import NanoevalError
from nanoeval_core.executors import ExecutorConfig
from nanoeval_core.library_config import get_library_config

from nanoeval_runner._executors import messages
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.rows import ExchangeReply, ExchangeRequest
from nanoeval_runner._queue.store import Store

log = logging.getLogger("nanoeval.runner")

STOP_SECONDS = 10.0
"""How long executors may take to leave their evals' contexts before they are ended."""

WAKE_DELAY = 0.01
"""Seconds over which results of some executors are gathered before idle ones are woken."""

MAX_BARREN_DEATHS = 3
"""How many executors may die before any commits a result, beyond as many as there are."""


NAMED = 5


@dataclasses.dataclass(eq=False)
class _Member:
    """An executor that has said hello."""

    name: str
    executor_id: int
    idle: bool = False
    woken: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)


class RemotePool:
    """Executors of one engine and run set. It is the `ExecutorHost` of the engine.

    Args:
        on_change: called when executors have committed results, or died.
        on_failure: called with an error when the engine cannot go on.
    """

    def __init__(
        self,
        config: ExecutorConfig,
        store: Store,
        group: asyncio.TaskGroup,
        on_change: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._kind = config.name
        self._store = store
        self._group = group
        self._on_change = on_change
        self._on_failure = on_failure
        self._members: dict[str, _Member] = {}
        self._by_id: dict[int, _Member] = {}
        self._lost: set[str] = set()
        self._most = 0
        self._barren_deaths = 0
        self._stopping = False
        self._empty = asyncio.Event()
        self._freed = 0
        self._wake_timer: asyncio.TimerHandle | None = None
        self._queue: list[tuple[Callable[..., Any], Any, asyncio.Future[Any]]] = []
        self._draining = False
        self._library_config = pickling.dumps(
            get_library_config(), what="the LibraryConfig", by_value=True
        )
        self._engine = config.engine(self)

    # --- what the run calls

    async def grow(self, size: int | None) -> None:
        await self._engine.grow(size)

    def wake(self) -> None:
        """Something changed in the state file: every executor looks."""
        for member in self._members.values():
            self._wake_one(member)

    def inspect(self) -> None:
        """Nothing is started on other machines: a monitor listens on loopback only."""

    async def stop(self) -> None:
        """Have every executor give back its tasks and leave its contexts; then end the engine."""
        self._stopping = True
        if self._wake_timer is not None:
            self._wake_timer.cancel()
        self.wake()
        if self._members:
            self._empty.clear()  # it may be set: all of them may have died at once, and come back
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._empty.wait()
            except TimeoutError:
                left = list(self._members)
                log.warning(
                    "%s executors did not stop within %s s: %s",
                    *(len(left), STOP_SECONDS, ", ".join(left[:NAMED])),
                )
        await self._engine.stop()

    def kill(self) -> None:
        self._stopping = True
        self._engine.kill()

    # --- ExecutorHost

    @property
    def run_set_id(self) -> str:
        return self._store.path.stem

    def start_task(self, coroutine: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        return self._group.create_task(coroutine, name=name)

    def fail(self, error: BaseException) -> None:
        self._on_failure(error)

    async def lost(self, executor: str, reason: str) -> bool:
        self._lost.add(executor)
        member = self._members.get(executor)
        if member is not None:
            self._leave(member)
            await self._store.call(transactions.end_executor, member.executor_id, died=True)
        if self._stopping:
            return False
        log.warning(
            "executor %s died: %s; its tasks go to others, and a new one replaces it",
            executor,
            reason,
        )
        self._barren_deaths += 1
        if self._barren_deaths > MAX_BARREN_DEATHS + self._most:
            self._on_failure(
                NanoevalError(
                    f"executors of {self._kind!r} keep dying before they finish a task (the last: "
                    f"{reason}). What they wrote is above, or where the engine keeps their logs"
                )
            )
            return False
        self.wake()
        self._on_change()
        return True

    async def handle(self, message: bytes) -> bytes:
        return messages.dump(await self._answer(messages.load(message)))

    async def _answer(self, message: messages.Message) -> Any:
        match message:
            case messages.Exchange(request):
                return await self._in_turn(transactions.exchange, request)
            case messages.Beat(heartbeat):
                return await self._in_turn(transactions.heartbeat, heartbeat)
            case messages.Wait(name):
                return await self._wait(name)
            case messages.Hello():
                return await self._welcome(message)
            case messages.Load(eval_id):
                return await self._load(eval_id)
            case messages.FailEval(eval_id, error):
                await self._store.fail_eval(eval_id, error)
                self._on_change()
            case messages.Bye(name):
                await self._bye(name)
        return None

    # --- executors come and go

    async def _welcome(self, hello: messages.Hello) -> messages.Welcome | None:
        if self._stopping or hello.name in self._lost:
            return None
        executor_id = await self._store.call(
            transactions.add_executor, hello.name, self._kind, hello.pid, hello.host, hello.log
        )
        member = _Member(hello.name, executor_id)
        self._members[hello.name] = self._by_id[executor_id] = member
        self._most = max(self._most, len(self._members))
        return messages.Welcome(executor_id, self._kind, self.run_set_id, self._library_config)

    async def _load(self, eval_id: int) -> messages.Loaded:
        spec, encoder = await self._store.call(transactions.get_eval_spec, eval_id)
        assert spec is not None  # noqa: S101  refused before: engines get picklable evals only
        assert encoder is not None  # noqa: S101
        row = await self._store.call(transactions.get_eval, eval_id)
        return messages.Loaded(spec, encoder, row.origin)

    async def _bye(self, name: str) -> None:
        member = self._members.get(name)
        if member is not None:
            await self._store.call(transactions.end_executor, member.executor_id, died=False)
            if name in self._members:
                self._leave(member)

    def _leave(self, member: _Member) -> None:
        del self._members[member.name], self._by_id[member.executor_id]
        if not self._members:
            self._empty.set()

    # --- exchanges: many executors' in one hop to the store's thread

    async def _in_turn(self, transaction: Callable[..., Any], argument: Any) -> Any:
        answer = asyncio.get_running_loop().create_future()
        self._queue.append((transaction, argument, answer))
        if not self._draining:
            self._draining = True
            self._group.create_task(self._drain(), name="exchange")
        return await answer

    async def _drain(self) -> None:
        try:
            while self._queue:
                batch, self._queue = self._queue, []
                try:
                    replies = await self._store.call(
                        transactions.in_turn, [(f, a) for f, a, _ in batch]
                    )
                except BaseException:
                    for _, _, answer in batch:
                        answer.cancel()
                    raise
                for (_, argument, answer), reply in zip(batch, replies, strict=True):
                    if isinstance(argument, ExchangeRequest):
                        self._exchanged(argument, reply)
                    if not answer.done():
                        answer.set_result(reply)
        finally:
            self._draining = False

    def _exchanged(self, request: ExchangeRequest, reply: ExchangeReply) -> None:
        member = self._by_id.get(request.executor_id)
        if member is not None:
            member.idle = len(reply.leases) < request.want
        if request.completions:
            self._barren_deaths = 0
            self._freed += len(request.completions)
            self._on_change()
        if self._freed and self._wake_timer is None:
            loop = asyncio.get_running_loop()
            self._wake_timer = loop.call_later(WAKE_DELAY, self._wake_idle)

    def fence(self, executor_id: int) -> None:
        """It is told so when it comes back."""

    # --- waking

    async def _wait(self, name: str) -> bool:
        member = self._members.get(name)
        if member is None:
            return True
        if not self._stopping:
            await member.woken.wait()
            member.woken.clear()
        return self._stopping or name not in self._members

    def _wake_one(self, member: _Member) -> None:
        member.idle = False
        member.woken.set()

    def _wake_idle(self) -> None:
        """Let as many idle executors look as results came in: each may have made room for one."""
        self._wake_timer = None
        idle = [member for member in self._members.values() if member.idle]
        for member in idle[: self._freed]:
            self._wake_one(member)
        self._freed = 0
