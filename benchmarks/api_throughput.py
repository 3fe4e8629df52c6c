"""What a solver gets out of an endpoint, as ratios to bare loops doing the same calls.

    python benchmarks/api_throughput.py [--calls 4000] [--concurrency 1000] [--small]

The endpoint is local, in a process of its own, and takes 500 ms a call. The bare loops are a
semaphore around `AsyncOpenAI().chat.completions.create` (the SDK's default client, on fewer calls:
its rate is what counts), and around `aiohttp`'s `post` and `json`. The solver's loop is
`OpenAIAPIMCQSolver.solve`: parsing, limits, retries, recording and usage included. Each loop makes
one call before it is timed, so that importing a library is in none of the figures.

Two processes are measured twice. Once each of them does the same as the one: so calls scale with
processes where there are cores for them. Once they share the calls and the concurrency: that is
bounded by the endpoint, since 1,000 calls of 500 ms at once are 2,000 a second, whoever makes them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

from api_server import api_server
from nanoeval_core.recorder import dummy_recorder
from nanoeval_solvers.mcq import MCQTask, Question
from nanoeval_solvers.mcq_api import OpenAIAPIMCQSolver

QUESTION = Question(
    question="Which of these organelles modifies, sorts and packs proteins for secretion?",
    choices=("The Golgi apparatus", "The lysosome", "The ribosome", "The centriole"),
    correct_indices=frozenset({0}),
)


LATENCY = 0.5  # seconds that the endpoint takes

Call = Callable[[int], Awaitable[object]]


async def timed(
    call: Call, calls: int, concurrency: int, *, start: Callable[[], object] = lambda: None
) -> float:
    """Calls per second, after a first call and `start()`."""
    semaphore = asyncio.Semaphore(concurrency)

    async def one(index: int) -> None:
        async with semaphore:
            await call(index)

    await call(calls)
    start()
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for index in range(calls):
            group.create_task(one(index))
    return calls / (time.perf_counter() - started)


def solver_of(url: str) -> OpenAIAPIMCQSolver:
    return OpenAIAPIMCQSolver(model="bench", base_url=url)


async def bare_sdk(url: str, calls: int, concurrency: int) -> float:
    import openai  # noqa: PLC0415

    messages = solver_of(url).messages(QUESTION)
    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
        return await timed(
            lambda _: client.chat.completions.create(model="bench", messages=messages),
            calls,
            concurrency,
        )


async def bare_aiohttp(url: str, calls: int, concurrency: int) -> float:
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
) -> float:
    solver = solver_of(url)

    async def call(index: int) -> object:
        return await solver.solve(MCQTask(question_id=f"q{index}", question=QUESTION))

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--concurrency", type=int, default=1000)
    parser.add_argument("--sdk-calls", type=int, default=1000)
    parser.add_argument("--small", action="store_true", help="whether it runs, not how fast")
    parser.add_argument("--worker")
    args = parser.parse_args()
    if args.small:
        args.calls, args.concurrency, args.sdk_calls = 40, 20, 20
    if args.worker:
        size = (args.calls, args.concurrency)
        print(asyncio.run(solver(args.worker, *size, start=wait_for_start)))
        return
    with api_server(latency=LATENCY) as server:
        size = (args.calls, args.concurrency)
        ours = asyncio.run(solver(server.url, *size))
        aiohttp = asyncio.run(bare_aiohttp(server.url, *size))
        one = in_processes(server.url, 1, *size)
        two = in_processes(server.url, 2, *size)
        shared = in_processes(server.url, 2, args.calls // 2, args.concurrency // 2)
        sdk = asyncio.run(bare_sdk(server.url, args.sdk_calls, args.concurrency))
    print(f"{args.calls} calls of 500 ms, concurrency {args.concurrency}, {os.cpu_count()} cores")
    print(f"bare SDK loop    {sdk:7.0f} /s  ({args.sdk_calls} calls)")
    print(f"bare aiohttp     {aiohttp:7.0f} /s")
    print(
        f"solver           {ours:7.0f} /s  {ours / sdk:.1f} x SDK, {ours / aiohttp:.0%} of aiohttp"
    )
    print(f"2 processes      {two:7.0f} /s  {two / one:.2f} x one ({one:.0f} /s), each the same")
    bound = args.concurrency / LATENCY
    print(
        f"sharing the calls{shared:7.0f} /s  {shared / bound:.0%} of the {bound:.0f} /s there are"
    )


if __name__ == "__main__":
    main()
