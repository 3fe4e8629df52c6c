"""How closely a solver follows an endpoint that serves 100 calls a second and refuses the rest.

    python benchmarks/api_rate_limit.py [--rate 100] [--seconds 30] [--processes 1] [--small]

The endpoint is local, in a process of its own, and takes 500 ms a call; 1,000 calls wait at any
time. Printed per 5 seconds: calls served per second, and the share that was refused. With several
processes they meet in a shared folder, as the executors of a run do.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--change", type=float, help="the rate in the second half")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--concurrency", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="whether it runs, not how well")
    parser.add_argument("--worker", nargs=2, metavar=("URL", "FOLDER"))
    args = parser.parse_args()
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
