"""Ray executors against the pool of processes: throughput, and the cost of a message.

    hatch run ray:bench [--small]

Both have two executors on this machine, started before the clock is; the two sides run in turn, in
one process, and each figure is the median of its runs. Tasks compute by the clock of their own
thread, so that what else a process does is not counted as their work.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import chz  # noqa: E402
import ray  # noqa: E402
from nanoeval_core import Eval, EvalSpec, RunnerArgs, Task, dummy_recorder  # noqa: E402
from nanoeval_ray import RayExecutors  # noqa: E402
from nanoeval_runner import run  # noqa: E402
from nanoeval_runner._exit_stack import global_exit_stack  # noqa: E402

SMALL = "--small" in sys.argv
RUNS, NOOP_TASKS, CPU_TASKS, CALLS = (1, 200, 20, 10) if SMALL else (5, 20_000, 200, 1000)
CPU_SECONDS = 0.02


@chz.chz
class Work(Eval[Task, bool]):
    """`n` tasks that each use the processor for `seconds`."""

    n: int
    seconds: float = 0.0

    def get_name(self) -> str:
        return "work"

    async def get_tasks(self) -> list[Task]:
        return [Task(question_id=str(i)) for i in range(self.n)]

    async def evaluate(self, task: Task) -> bool:
        until = time.thread_time() + self.seconds
        while time.thread_time() < until:
            pass
        return True

    async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
        return {"n": len(results)}

    async def get_full_summary(self, results: list[tuple[Task, Any]]) -> dict[str, Any]:
        return await self.get_summary(results)


POOLS: dict[str, Any] = {"multiprocess": "multiprocess", "ray": RayExecutors()}


async def seconds(name: str, eval: Work) -> float:
    runner = RunnerArgs(
        executor=POOLS[name],
        num_processes=2,
        recorder=dummy_recorder(),
        should_backup=False,
        enable_slackbot=False,
    )
    started = time.perf_counter()
    assert (await run(EvalSpec(eval=eval, runner=runner)))["n"] == eval.n
    return time.perf_counter() - started


async def compare(what: str, eval: Work, must: float) -> None:
    took: dict[str, list[float]] = {name: [] for name in POOLS}
    for _ in range(RUNS):
        for name in POOLS:
            took[name].append(await seconds(name, eval))
    rate = {name: eval.n / statistics.median(times) for name, times in took.items()}
    ratio = rate["ray"] / rate["multiprocess"]
    print(
        f"{what}: ray {rate['ray']:,.0f}/s, multiprocess {rate['multiprocess']:,.0f}/s, "
        f"ratio {ratio:.2f} (must {must}): {'kept' if ratio >= must else 'MISSED'}"
    )


class Echo:
    """An actor whose calls cost what Ray makes them cost."""

    def turn(self, reply: bytes) -> bytes:
        return reply


async def call_cost() -> None:
    """What one call of an actor takes, with the payload of a small exchange."""
    actor = ray.remote(Echo).options(num_cpus=0).remote()
    payload = b"x" * 1000
    await actor.turn.remote(payload)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(CALLS):
        await actor.turn.remote(payload)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        f"a call of an actor: {wall / CALLS * 1e6:.0f} µs there and back, "
        f"{cpu / CALLS * 1e6:.0f} µs of the driver's CPU"
    )
    ray.kill(actor)


async def main() -> None:
    async with global_exit_stack:
        for name in POOLS:
            for _ in range(2):  # the second time, both executors are there
                await seconds(name, Work(n=2000))
        await call_cost()
        await compare("no-op tasks", Work(n=NOOP_TASKS), must=0.6)
        cpu = Work(n=CPU_TASKS, seconds=CPU_SECONDS)
        await compare(f"tasks of {CPU_SECONDS * 1000:.0f} ms of CPU", cpu, must=0.9)


if __name__ == "__main__":
    asyncio.run(main())
