"""Starts executors as Ray actors, carries their messages to the driver, replaces the dead."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from typing import Any

import ray
from nanoeval_core.errors import ConfigError
from nanoeval_core.executors import ExecutorHost
from ray.exceptions import ActorUnschedulableError, RayError, RuntimeEnvSetupError

from nanoeval_ray._actor import MAX_CONCURRENCY, ExecutorActor
from nanoeval_ray._cluster import capacity, connection
from nanoeval_ray._mailbox import LANES

log = logging.getLogger("nanoeval.ray")

LOOK_SECONDS = 2.0
"""How often the cluster is asked whether it has grown. Ray tells nobody by itself."""

PENDING_SECONDS = 15.0
"""How long an executor may wait for room before that is said."""


STOP_SECONDS = 5.0
"""How long Ray may take to say that actors which were killed are dead."""


@dataclasses.dataclass(eq=False)
class _Executor:
    name: str
    actor: Any
    serving: asyncio.Task[None] | None = None
    where: str = ""


@dataclasses.dataclass(eq=False, kw_only=True)
class RayEngine:
    """The actors of one run set.

    Attributes:
        address: the cluster, as `RayExecutors` has it.
        demand: what each executor needs, by Ray's names of resources.
        actor_options: for `Actor.options`.
        init_options: for `ray.init`.
    """

    host: ExecutorHost
    address: str | None
    demand: dict[str, float]
    actor_options: dict[str, Any]
    init_options: dict[str, Any]

    def __post_init__(self) -> None:
        self._executors: dict[str, _Executor] = {}
        self._names = 0
        self._size = 0  # asked for; without that, the cluster decides
        self._failed = False
        self._growing = asyncio.Lock()
        self._connected = False
        self._watch: asyncio.Task[None] | None = None

    async def grow(self, size: int | None) -> None:
        async with self._growing:
            if not self._connected:
                await asyncio.to_thread(
                    connection.open, self.address, self.init_options, self.demand, size or 0
                )
                self._connected = True
            if size is None and self._watch is None:
                self._watch = self.host.start_task(self._grow_with_cluster(), name="ray capacity")
            self._size = max(self._size, size or 1)
            await self._fill()

    async def _fill(self) -> None:
        """Have as many executors as were asked for, or as the nodes have room for."""
        size = self._size
        if self._watch is not None:
            size = max(size, await asyncio.to_thread(capacity, self.demand))
        while len(self._executors) < size:
            self._start()

    async def _grow_with_cluster(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._fill()

    def _start(self) -> None:
        self._names += 1
        name = f"ray-{self._names}"
        limits = {"max_concurrency": MAX_CONCURRENCY, "max_restarts": 0, "max_task_retries": 0}
        try:
            actor = ray.remote(ExecutorActor).options(**self.actor_options, **limits).remote(name)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"Ray refuses these options of RayExecutors: {error}") from error
        executor = self._executors[name] = _Executor(name, actor)
        executor.serving = self.host.start_task(self._serve(executor), name=f"serve {name}")

    # --- one actor

    async def _serve(self, executor: _Executor) -> None:
        """Talk with an actor until it ends, however it does; then start the next if need be."""
        reason = "it ended without a word"
        try:
            await self._locate(executor)
            await self._talk(executor)
        except (RuntimeEnvSetupError, ActorUnschedulableError) as error:
            self._failed = True
            self.host.fail(
                ConfigError(f"Ray cannot start executors as RayExecutors asks for them: {error}")
            )
        except RayError as error:
            reason = _describe(error, executor)
        del self._executors[executor.name]
        with contextlib.suppress(RayError):
            ray.kill(executor.actor)
        if await self.host.lost(executor.name, reason) and not self._failed:
            await self._fill()

    async def _locate(self, executor: _Executor) -> None:
        timer = asyncio.get_running_loop().call_later(PENDING_SECONDS, self._say_pending, executor)
        try:
            executor.where = await executor.actor.where.remote()
        finally:
            timer.cancel()
        log.info("executor %s is %s", executor.name, executor.where)

    def _say_pending(self, executor: _Executor) -> None:
        waiting = sum(not each.where for each in self._executors.values())
        log.warning(
            "%s of %s executors wait for room: each needs %s, and the cluster has %s in all. They "
            "start when nodes join; or ask for fewer with RunnerArgs.num_processes",
            waiting,
            len(self._executors),
            self.demand or "nothing",
            {name: n for name, n in ray.cluster_resources().items() if ":" not in name},
        )

    async def _talk(self, executor: _Executor) -> None:
        """Carry messages until the executor has no more, or its process is gone."""
        loop = asyncio.get_running_loop()
        lanes = [loop.create_task(self._lane(executor, index)) for index in range(LANES)]
        try:
            done, _ = await asyncio.wait(lanes, return_when=asyncio.FIRST_COMPLETED)
            for lane in done:
                lane.result()
        finally:
            for lane in lanes:
                lane.cancel()
            await asyncio.wait(lanes)

    async def _lane(self, executor: _Executor, index: int) -> None:
        reply: bytes | None = None
        while True:
            message = await executor.actor.turn.remote(index, reply)
            if message is None:
                return
            reply = await self.host.handle(message)

    # --- the end

    async def stop(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self.kill()
        serving = [executor.serving for executor in self._executors.values() if executor.serving]
        if serving:
            _, left = await asyncio.wait(serving, timeout=STOP_SECONDS)
            for task in left:  # they would wait for ever once the connection is closed
                task.cancel()
        if self._connected:
            self._connected = False
            await asyncio.to_thread(connection.close)

    def kill(self) -> None:
        for executor in list(self._executors.values()):
            # Whatever Ray raises: it may be on its way down, and other executors are left.
            with contextlib.suppress(Exception):
                ray.kill(executor.actor)


def _describe(error: RayError, executor: _Executor) -> str:
    """Return what happened to an actor, in a line, and where its output is."""
    text = " ".join(str(error).split())
    head, _, cause = text.partition("The actor is dead because ")
    said = (cause or head)[:300]
    return f"{said} (it was {executor.where})" if executor.where else said
