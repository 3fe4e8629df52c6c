"""What a solver gets out of an endpoint, as ratios to bare loops that make the same calls.

    python benchmarks/api_throughput.py [--calls 20000] [--concurrency 1000] [--small]

The endpoint is local, in a process of its own, and takes 50 ms a call: the client is what holds
calls up. The bare loops are a semaphore around `aiohttp`'s `post` and `json`, and around
`AsyncOpenAI().chat.completions.create` (the SDK's default client, on fewer calls: its rate is what
counts). The solver's loop is `OpenAIAPIMCQSolver.solve`: parsing, limits, retries, recording and
usage included. Each loop makes one call before it is timed, so that importing a library is in none
of the figures. The loops take turns, and the best round of each counts. Processor time is printed
as well: it depends less on what else the machine does.

The first request is timed from the start of a process until its request arrives at the endpoint,
for a script with a solver and for one with bare `aiohttp`: the median of several.

Two processes are measured twice. Once each of them does the same as the one: so calls scale with
processes where there are cores for them. Once they share the calls and the concurrency.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import NamedTuple

from api_server import BODY, api_server
from nanoeval_core.recorder import dummy_recorder
from nanoeval_solvers.mcq import MCQTask, Question
from nanoeval_solvers.mcq_api import OpenAIAPIMCQSolver

QUESTION = Question(
    question="Which of these organelles modifies, sorts and packs proteins for secretion?",
    answers=["The Golgi apparatus", "The lysosome", "The ribosome", "The centriole"],
    correct_indices={0},
)
LATENCY = 0.05  # seconds that the endpoint takes

Call = Callable[[int], Awaitable[object]]


class Pace(NamedTuple):
    """Calls per second, and milliseconds of the processor for each."""

    per_second: float
    processor: float


async def timed(
    call: Call, calls: int, concurrency: int, *, start: Callable[[], object] = lambda: None
) -> Pace:
    """The pace after a first call and `start()`."""
    semaphore = asyncio.Semaphore(concurrency)

    async def one(index: int) -> None:
        async with semaphore:
            await call(index)

    await call(calls)
    start()
    started, processor = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for index in range(calls):
            group.create_task(one(index))
    spent = time.process_time() - processor
    return Pace(calls / (time.perf_counter() - started), spent / calls * 1000)


def solver_of(url: str) -> OpenAIAPIMCQSolver:
    return OpenAIAPIMCQSolver(model="bench", base_url=url)


async def bare_sdk(url: str, calls: int, concurrency: int) -> Pace:
    import openai  # noqa: PLC0415

    messages = solver_of(url).messages(QUESTION)
    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
        return await timed(
            lambda _: client.chat.completions.create(model="bench", messages=messages),
            calls,
            concurrency,
        )


async def bare_aiohttp(url: str, calls: int, concurrency: int) -> Pace:
    import aiohttp  # noqa: PLC0415

    body = {"model": "bench", "messages": solver_of(url).messages(QUESTION)}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def call(_: int) -> object:
            async with session.post(f"{url}/chat/completions", json=body) as response:
                return (await response.json())["choices"][0]["message"]["content"]

        return await timed(call, calls, concurrency)


async def solver(
    url: str, calls: int, concurrency: int, start: Callable[[], object] = lambda: None
) -> Pace:
    solver = solver_of(url)
    tasks = [MCQTask(question_id=f"q{index}", question=QUESTION) for index in range(calls + 1)]

    async def call(index: int) -> object:
        return await solver.solve(tasks[index])

    with dummy_recorder():
        async with solver:
            return await timed(call, calls, concurrency, start=start)


def wait_for_start() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def in_processes(url: str, processes: int, calls: int, concurrency: int) -> float:
    """Calls per second of several processes that start together, each with so many calls."""
    command = [sys.executable, __file__, "--worker", url, "--calls", str(calls)]
    command += ["--concurrency", str(concurrency)]
    workers = [
        subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(processes)
    ]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    return sum(float(worker.communicate()[0]) for worker in workers)


BARE_SCRIPT = """
import asyncio, sys, aiohttp

async def main():
    async with aiohttp.ClientSession() as session:
        body = {"model": "bench", "messages": [{"role": "user", "content": "?"}]}
        async with session.post(sys.argv[1] + "/chat/completions", json=body) as response:
            await response.json()

asyncio.run(main())
"""
SOLVER_SCRIPT = """
import asyncio, sys
from nanoeval.solvers.mcq import MCQTask, Question
from nanoeval.solvers.mcq_api import OpenAIAPIMCQSolver

async def main():
    question = Question(question="?", answers=["a", "b"], correct_indices={0})
    solver = OpenAIAPIMCQSolver(model="bench", base_url=sys.argv[1])
    await solver.ask(solver.messages(question), sample="q")

asyncio.run(main())
"""


def first_request(script: str, times: int) -> float:
    """Seconds from a process's start to its first request, the median."""
    arrived: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.append(time.perf_counter())
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, format: str, *args: object) -> None:
            pass

    found = []
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        command = [sys.executable, "-c", script, f"http://127.0.0.1:{server.server_port}/v1"]
        for _ in range(times + 1):  # the first one warms caches, ours too
            started = time.perf_counter()
            with subprocess.Popen(command):
                server.handle_request()
            found.append(arrived.pop() - started)
    return statistics.median(found[1:])


def best(paces: list[Pace]) -> Pace:
    return Pace(max(p.per_second for p in paces), min(p.processor for p in paces))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=1000)
    parser.add_argument("--sdk-calls", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="seconds, for a look that it runs")
    parser.add_argument("--worker")
    args = parser.parse_args()
    logging.getLogger("nanoeval").setLevel(logging.ERROR)
    if args.worker:
        pace = asyncio.run(solver(args.worker, args.calls, args.concurrency, start=wait_for_start))
        print(pace.per_second)
        return
    if args.small:
        args.calls, args.concurrency, args.sdk_calls, args.rounds = 500, 100, 50, 1
    size = (args.calls, args.concurrency)
    ours, bare = [], []
    with tempfile.TemporaryDirectory() as cache, api_server(latency=LATENCY) as server:
        os.environ["NANOEVAL_CACHE_DIR"] = cache
        for _ in range(args.rounds):
            bare.append(asyncio.run(bare_aiohttp(server.url, *size)))
            ours.append(asyncio.run(solver(server.url, *size)))
        one = in_processes(server.url, 1, *size)
        two = in_processes(server.url, 2, *size)
        shared = in_processes(server.url, 2, args.calls // 2, args.concurrency // 2)
        sdk = asyncio.run(bare_sdk(server.url, args.sdk_calls, args.concurrency))
        times = 1 if args.small else 7
        first, first_bare = first_request(SOLVER_SCRIPT, times), first_request(BARE_SCRIPT, times)
    a, s = best(bare), best(ours)
    print(
        f"{args.calls} calls of {LATENCY * 1000:g} ms, concurrency {args.concurrency}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    print(
        f"bare SDK loop      {sdk.per_second:6.0f} /s  {sdk.processor:.3f} ms of processor a call"
    )
    print(f"bare aiohttp       {a.per_second:6.0f} /s  {a.processor:.3f} ms")
    print(
        f"solver             {s.per_second:6.0f} /s  {s.processor:.3f} ms: "
        f"{s.per_second / a.per_second:.2f} of aiohttp's calls ({a.processor / s.processor:.2f} by "
        f"processor), {s.per_second / sdk.per_second:.1f} x the SDK's"
    )
    print(f"2 processes        {two:6.0f} /s  {two / one:.2f} x one ({one:.0f} /s), each the same")
    print(f"sharing the calls  {shared:6.0f} /s  {shared / one:.2f} x one")
    print(
        f"first request      {first * 1000:6.0f} ms  {first / first_bare:.2f} x bare aiohttp's "
        f"({first_bare * 1000:.0f} ms)"
    )


if __name__ == "__main__":
    main()
