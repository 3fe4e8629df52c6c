"""How many results a second one driver takes from executors elsewhere.

    python benchmarks/driver_capacity.py [EXECUTORS] [TASKS] [--small]

The executors are simulated: coroutines in this process that answer each lease at once, with
messages pickled as real ones are. Queue, results, progress and wake-ups are the real ones, so the
figure is what the driver alone sustains, less what the simulation costs. A model with two
constants (CPU seconds a result, CPU seconds a message) is fitted to 16 executors at two sizes of
batch, and checked against what 1,000 executors do at others. CPU seconds, because others may be
using the machine; all of it is the driver's one process.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pickle
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import chz  # noqa: E402
from nanoeval_core import EvalSpec, RunnerArgs, dummy_recorder  # noqa: E402
from nanoeval_core.executors import ExecutorConfig, ExecutorEngine, ExecutorHost  # noqa: E402
from nanoeval_runner import run  # noqa: E402
from nanoeval_runner._executors.remote_pool import Welcome  # noqa: E402
from nanoeval_runner._exit_stack import global_exit_stack  # noqa: E402
from nanoeval_runner._queue.rows import (  # noqa: E402
    Completion,
    ExchangeReply,
    ExchangeRequest,
    Heartbeat,
)

from benchmarks.noop_eval import BenchEval  # noqa: E402

RESULT = pickle.dumps(True, pickle.HIGHEST_PROTOCOL)
HEARTBEAT_SECONDS = 3.0


@dataclasses.dataclass
class Tally:
    """What happened from the first exchange that carried results to the last.

    Attributes:
        exchanges: how many carried results.
        messages: how many messages there were, heartbeats and empty exchanges included.
    """

    exchanges: int = 0
    messages: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    seen: int = 0
    started: tuple[float, float, int] | None = None

    def results_came(self) -> None:
        self.exchanges += 1
        wall, cpu = time.perf_counter(), time.process_time()
        self.started = self.started or (wall, cpu, self.seen)
        self.wall, self.cpu = wall - self.started[0], cpu - self.started[1]
        self.messages = self.seen - self.started[2]


@chz.chz
class SimulatedExecutors(ExecutorConfig):
    name: ClassVar[str] = "simulated"
    batch: int
    tally: Any

    def engine(self, host: ExecutorHost) -> ExecutorEngine:
        return SimulatedEngine(self.batch, self.tally, host)


class SimulatedEngine:
    def __init__(self, batch: int, tally: Tally, host: ExecutorHost) -> None:
        self._batch = batch
        self._tally = tally
        self._host = host
        self._started = 0

    async def grow(self, size: int | None) -> None:
        while self._started < (size or 1):
            self._started += 1
            executor = SimulatedExecutor(
                f"simulated-{self._started}", self._batch, self._tally, self._host
            )
            self._host.start_task(executor.serve(), name=executor.name)

    async def stop(self) -> None:
        pass

    def kill(self) -> None:
        pass


class SimulatedExecutor:
    """Says what a real one says: hello, exchanges, heartbeats, waiting, and bye."""

    def __init__(self, name: str, batch: int, tally: Tally, host: ExecutorHost) -> None:
        self.name = name
        self._batch = batch
        self._tally = tally
        self._host = host
        self._over = False
        self._more = asyncio.Event()

    async def _ask(self, verb: str, *arguments: object) -> Any:
        self._tally.seen += 1
        return pickle.loads(await self._host.handle(pickle.dumps((verb, *arguments))))

    async def serve(self) -> None:
        welcome = await self._ask("hello", self.name, os.getpid(), "here", "")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            beating = group.create_task(self._beat(welcome.executor_id))
            await self._work(welcome)
            beating.cancel()
        await self._ask("bye", self.name)

    async def _listen(self) -> None:
        while not self._over:
            self._over = await self._ask("wait", self.name)
            self._more.set()

    async def _beat(self, executor_id: int) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await self._ask("beat", Heartbeat(executor_id=executor_id, in_flight=0))

    async def _work(self, welcome: Welcome) -> None:
        completions: list[Completion] = []
        ready: list[int] = []
        while not self._over:
            self._more.clear()
            request = ExchangeRequest(
                welcome.executor_id, completions, self._batch, ready, welcome.pool
            )
            reply: ExchangeReply = await self._ask("exchange", self.name, request)
            if completions:
                self._tally.results_came()
            opened = list(reply.running)
            if not reply.leases and opened == ready:
                await self._more.wait()
            ready = opened
            completions = [
                Completion(lease.task_id, lease.eval_id, "done", RESULT) for lease in reply.leases
            ]


async def measure(executors: int, batch: int, n: int) -> Tally:
    warm, tally = Tally(), Tally()
    runner = RunnerArgs(
        executor=SimulatedExecutors(batch=batch, tally=warm),
        num_processes=executors,
        concurrency=None,
        recorder=dummy_recorder(),
        should_backup=False,
        enable_slackbot=False,
    )
    async with global_exit_stack:
        await run(EvalSpec(eval=BenchEval(n=executors), runner=runner))  # all have said hello
        vars(warm).update(vars(tally))
        done = await run(EvalSpec(eval=BenchEval(n=n), runner=runner))
    assert done["correct"] == n
    return warm


async def main(executors: int, n: int) -> None:
    few, many = await measure(16, 1, n // 4), await measure(16, 64, n)
    # cpu = results · a + messages · b, twice.
    determinant = n // 4 * many.messages - n * few.messages
    a = (few.cpu * many.messages - many.cpu * few.messages) / determinant
    b = (n // 4 * many.cpu - n * few.cpu) / determinant
    print(f"a result costs the driver {a * 1e6:.0f} µs of CPU, a message {b * 1e6:.0f} µs")
    for batch in (4, 16):
        tally = await measure(executors, batch, n)
        print(
            f"{executors} executors, {n / tally.exchanges:4.1f} results an exchange: "
            f"{n / tally.cpu:,.0f} results per second of the driver's CPU "
            f"(the model says {n / (n * a + tally.messages * b):,.0f}), "
            f"{n / tally.wall:,.0f} per second that passed"
        )


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:] if argument != "--small"]
    default = [16, 640] if "--small" in sys.argv else [1000, 40_000]
    asyncio.run(main(*(given + default[len(given) :])))
