"""Where the microseconds of a no-op task go, part by part.

    python benchmarks/task_cost.py [--small]

Each part is run alone, in processor time of the whole process (its threads included), so other
load on the machine does not show. What a whole run takes beyond the parts is the executor's loop,
hops between threads, and the display. docs/decisions/0006 explains the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nanoeval_core import EvalSpec, RunnerArgs, dummy_recorder  # noqa: E402
from nanoeval_core.eval import check_tasks  # noqa: E402
from nanoeval_runner import run  # noqa: E402
from nanoeval_runner._payloads import dump_tasks  # noqa: E402
from nanoeval_runner._queue import transactions  # noqa: E402
from nanoeval_runner._queue.connection import connect  # noqa: E402
from nanoeval_runner._queue.paths import create_private  # noqa: E402
from nanoeval_runner._queue.rows import (  # noqa: E402
    Completion,
    ExchangeRequest,
    Lease,
    NewEval,
)

from benchmarks.engine import collecting_rarely  # noqa: E402
from benchmarks.noop_eval import BenchEval, state_folder, tasks  # noqa: E402

CHUNK = 512
POOL = "in_process"


def micros(work: Callable[[], Any], n: int) -> float:
    start = time.process_time()
    work()
    return (time.process_time() - start) / n * 1e6


def bare_tasks(n: int) -> None:
    async def one() -> bytes:
        return pickle.dumps(True)

    async def main() -> None:
        semaphore = asyncio.Semaphore(4096)

        async def limited() -> bytes:
            async with semaphore:
                return await one()

        async with asyncio.TaskGroup() as group:
            for _ in range(n):
                group.create_task(limited())

    asyncio.run(main())


def whole_run(n: int) -> None:
    runner = RunnerArgs(
        recorder=dummy_recorder(), should_backup=False, enable_slackbot=False, concurrency=4096
    )
    asyncio.run(run(EvalSpec(eval=BenchEval(n=n), runner=runner)))


def queue_parts(folder: Path, n: int) -> dict[str, float]:
    """The queue's parts, without an event loop."""
    path = folder / f"{time.monotonic_ns()}.db"
    create_private(path)
    with contextlib.closing(connect(path)) as connection:
        transactions.create_schema(connection, "x")
        executor_id = transactions.add_executor(connection, "main", POOL, 1, "host")
        new = NewEval(
            name="x", run_id="x", pool=POOL, concurrency=None, model_name=None, arguments="{}",
            origin="{}", spec=None, encoder=b"",
        )  # fmt: skip
        eval_id = transactions.add_eval(connection, new, 0.0)
        rows = dump_tasks(tasks.get(n), "x", by_value=False)
        stored = micros(lambda: transactions.enqueue(connection, eval_id, rows), n)
        transactions.start_eval(connection, eval_id)
        result = pickle.dumps(True)
        leases: list[Lease] = []

        def ask(completions: list[Completion], want: int) -> list[Lease]:
            request = ExchangeRequest(executor_id, completions, want, [eval_id], POOL)
            return transactions.exchange(connection, request).leases

        def claim() -> None:
            while len(leases) < n:
                leases.extend(ask([], CHUNK))

        def complete() -> None:
            for i in range(0, n, CHUNK):
                chunk = leases[i : i + CHUNK]
                ask([Completion(lease.task_id, eval_id, "done", result) for lease in chunk], 0)

        return {
            "store the task": stored,
            "claim it": micros(claim, n),
            "store its result": micros(complete, n),
        }


def parts(folder: Path, n: int) -> dict[str, float]:
    listed = tasks.get(n)
    found = {
        "check it": micros(lambda: check_tasks(listed, eval_name="x"), n),
        "pickle it": micros(lambda: dump_tasks(listed, "x", by_value=False), n),
        **queue_parts(folder, n),
    }
    whole = micros(lambda: whole_run(n), n)
    return {
        **found,
        "run it: what a whole run takes beyond these": whole - sum(found.values()),
        "a whole run": whole,
        "for comparison: a bare asyncio task": micros(lambda: bare_tasks(n), n),
    }


def main(arguments: list[str]) -> None:
    n, runs = (500, 1) if "--small" in arguments else (20_000, 5)
    columns: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=state_folder()) as folder, collecting_rarely():
        os.environ["NANOEVAL_STATE_DIR"] = folder
        whole_run(10)
        for _ in range(runs):
            for name, value in parts(Path(folder), n).items():
                columns.setdefault(name, []).append(value)
    for name, values in columns.items():
        print(f"{statistics.median(values):6.1f} µs  {name}")


if __name__ == "__main__":
    main(sys.argv[1:])
