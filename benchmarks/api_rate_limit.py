"""How closely a solver follows an endpoint that serves 100 calls a second and refuses the rest.

    python benchmarks/api_rate_limit.py [--rate 100] [--seconds 30] [--processes 1] [--small]
    python benchmarks/api_rate_limit.py --simulated

The endpoint is local, in a process of its own, and takes 500 ms a call; 1,000 calls wait at any
time. Printed per 5 seconds: calls served per second, and the share that was refused. With several
processes they meet in a shared folder, as the executors of a run do.

With `--simulated` nothing is called and no time passes: the rule of the limiter runs against models
of endpoints whose calls take 0.2 to 0.8 s, on a clock of their own. Printed for each: the share of
its limit that was served in three minutes from the first call on, and of calls that were refused.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from api_server import Server, api_server
from api_throughput import QUESTION, solver_of
from nanoeval_core.recorder import dummy_recorder
from nanoeval_core.run_context import RunContext, current_run_context
from nanoeval_solvers.mcq import MCQTask

STEP = 5.0
ROOT = Path(__file__).parents[1]


async def drive(url: str, concurrency: int, seconds: float, shared: str) -> None:
    current_run_context.set(
        RunContext(run_set_id="bench", shared_dir=Path(shared), executor="main")
    )
    solver = solver_of(url)
    until = time.monotonic() + seconds

    async def caller(number: int) -> None:
        index = 0
        while time.monotonic() < until:
            index += 1
            await solver.solve(MCQTask(question_id=f"{number}-{index}", question=QUESTION))

    with dummy_recorder(), contextlib.suppress(TimeoutError):
        async with solver, asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            for number in range(concurrency):
                group.create_task(caller(number))


def watch(server: Server, seconds: float, change: float | None) -> None:
    started = time.monotonic()
    server.stats()
    for step in range(1, int(seconds / STEP) + 1):
        time.sleep(max(0.0, started + step * STEP - time.monotonic()))
        stats = server.stats()
        calls = stats["served"] + stats["refused"]
        served, refused = stats["served"] / STEP, stats["refused"] / max(1, calls)
        when = f"{(step - 1) * STEP:3.0f}-{step * STEP:.0f} s"
        print(f"{when}: {served:6.1f} /s served, {refused:6.2%} refused", flush=True)
        if change and step == int(seconds / STEP) // 2:
            print(f"the limit changes to {change:g} /s")
            server.set(rate=change)


def simulate(seconds: float = 180.0) -> None:
    sys.path.insert(0, str(ROOT))
    from tests.support.endpoint_simulation import (  # noqa: PLC0415  found from here on
        AtOnce,
        Bucket,
        Fixed,
        Simulation,
        Sliding,
    )

    endpoints = {
        "1 /s, bucket of 10": (Bucket(1, 10), 1.0),
        "60 in any minute": (Sliding(60, 60.0), 1.0),
        "60 each minute": (Fixed(60, 60.0), 1.0),
        "5 /s, bucket of 5": (Bucket(5, 5), 5.0),
        "5 in any second": (Sliding(5), 5.0),
        "10 /s, bucket of 1": (Bucket(10, 1), 10.0),
        "10 /s, bucket of 10": (Bucket(10, 10), 10.0),
        "10 in any second": (Sliding(10), 10.0),
        "600 in any minute": (Sliding(600, 60.0), 10.0),
        "100 /s, bucket of 10": (Bucket(100, 10), 100.0),
        "100 in any second": (Sliding(100), 100.0),
        "4 at once": (AtOnce(4), 8.0),
        "10 at once": (AtOnce(10), 20.0),
        "50 at once": (AtOnce(50), 100.0),
        "500 at once": (AtOnce(500), 1000.0),
    }
    for name, (limit, capacity) in endpoints.items():
        simulation = Simulation(limit, latency=lambda dice: dice.uniform(0.2, 0.8))
        simulation.run(seconds)
        served = simulation.served_per_second(0, seconds) / capacity
        refused = simulation.refused_share(0, seconds)
        print(f"{name:22} {served:5.2f} of the limit served, {refused:6.2%} of calls refused")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--change", type=float, help="the rate in the second half")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--concurrency", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="whether it runs, not how well")
    parser.add_argument("--simulated", action="store_true", help="in simulated time")
    parser.add_argument("--worker", nargs=2, metavar=("URL", "FOLDER"))
    args = parser.parse_args()
    if args.simulated:
        simulate()
        return
    if args.small:
        args.seconds, args.concurrency = STEP, 50
    if args.worker:
        asyncio.run(drive(args.worker[0], args.concurrency, args.seconds, args.worker[1]))
        return
    with tempfile.TemporaryDirectory() as shared, api_server(rate=args.rate) as server:
        command = [sys.executable, __file__, "--worker", server.url, shared]
        command += ["--seconds", str(args.seconds)]
        command += ["--concurrency", str(args.concurrency // args.processes)]
        workers = [subprocess.Popen(command) for _ in range(args.processes)]
        watch(server, args.seconds, args.change)
        for worker in workers:
            worker.wait()


if __name__ == "__main__":
    main()
