"""Where the microseconds of a no-op task go, part by part.

    python benchmarks/task_cost.py

Each part is run alone, in processor time of the whole process (its threads included), so other
load on the machine does not show. docs/decisions/0006 explains the figures.
"""

from __future__ import annotations

import asyncio
import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nanoeval_core import RunnerArgs, Task  # noqa: E402
from nanoeval_core.eval import Eval  # noqa: E402
from nanoeval_core.recording import DummyRecorder, EventEncoder  # noqa: E402
from nanoeval_core.run_context import RunContext  # noqa: E402
from nanoeval_core.task_checks import check_tasks  # noqa: E402
from nanoeval_runner._executors.loop import ExecutorLoop  # noqa: E402
from nanoeval_runner._queue import transactions  # noqa: E402
from nanoeval_runner._queue.rows import (  # noqa: E402
    Completion,
    ExchangeReply,
    ExchangeRequest,
    Lease,
    NewEval,
)
from nanoeval_runner._queue.store import connect  # noqa: E402

from benchmarks.noop_eval import BenchEval, state_folder, tasks  # noqa: E402

N = 20_000
CHUNK = 512
RUNS = 5


def micros(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return (time.process_time() - start) / N * 1e6


# --- the executor loop, on a queue that costs nothing


class _FreeSource:
    """Hands out `N` leases and takes completions, in memory."""

    def __init__(self) -> None:
        self.next = 0
        self.done = 0
        self.loop: ExecutorLoop | None = None

    async def exchange(self, request: ExchangeRequest) -> ExchangeReply:
        self.done += len(request.completions)
        n = min(request.want, N - self.next) if request.ready_evals else 0
        leases = [Lease(i, 1, 0) for i in range(self.next, self.next + n)]
        self.next += n
        if self.done == N and self.loop is not None:
            self.loop.stop(release=False)
        return ExchangeReply(leases, {1: None})

    async def fail_eval(self, eval_id: int, error: bytes) -> None:
        raise RuntimeError(f"eval {eval_id} failed: {error!r}")


class _Handle:
    eval: Eval[Any, Any] = BenchEval(n=1)
    runner = RunnerArgs()
    encoder: EventEncoder = DummyRecorder().encoder()

    def task(self, lease: Lease) -> Task:
        return tasks.get(N)[lease.task_id]


class _Loader:
    async def load(self, eval_id: int) -> _Handle:
        return _Handle()

    def context(self, eval_id: int) -> None:
        return None


class _Events:
    def committed(self, completions: Sequence[Completion]) -> None:
        pass

    def idle(self) -> None:
        pass

    def eval_failed(self, eval_id: int, error: BaseException) -> None:
        raise error


def executor_loop() -> None:
    async def main() -> None:
        source = _FreeSource()
        source.loop = ExecutorLoop(
            executor_id=1,
            kind="in_process",
            source=source,
            loader=_Loader(),
            events=_Events(),
            run_context=RunContext(run_set_id="x", shared_dir=Path(), executor="main"),
            in_driver=True,
        )
        await source.loop.run()

    asyncio.run(main())


def bare_tasks() -> None:
    async def one() -> bytes:
        return pickle.dumps(True)

    async def main() -> None:
        semaphore = asyncio.Semaphore(4096)

        async def limited() -> bytes:
            async with semaphore:
                return await one()

        async with asyncio.TaskGroup() as group:
            for _ in range(N):
                group.create_task(limited())

    asyncio.run(main())


# --- the queue, without an event loop


def queue_parts(folder: Path) -> dict[str, float]:
    path = folder / f"{time.monotonic_ns()}.db"
    connection = connect(path)
    transactions.create_schema(connection, "x")
    transactions.add_executor(connection, "main", "in_process", 1, "host")
    new = NewEval(
        name="x", run_id=str(time.monotonic_ns()), kind="in_process", concurrency=None,
        model_name=None, arguments="{}", origin="{}", spec=None, encoder=None,
    )  # fmt: skip
    eval_id = transactions.add_eval(connection, new, 0.0)
    listed = tasks.get(N)
    payloads = [(t.question_id, 1, pickle.dumps(t, pickle.HIGHEST_PROTOCOL)) for t in listed]
    result = pickle.dumps(True)
    parts = {"write the task": micros(lambda: transactions.enqueue(connection, eval_id, payloads))}
    transactions.start_eval(connection, eval_id)
    leases: list[Lease] = []

    def ask(completions: list[Completion], want: int) -> None:
        request = ExchangeRequest(1, completions, want, [eval_id], "in_process", False)
        leases.extend(transactions.exchange(connection, request).leases)

    def claim() -> None:
        while len(leases) < N:
            ask([], CHUNK)

    def complete() -> None:
        for i in range(0, N, CHUNK):
            chunk = leases[i : i + CHUNK]
            ask([Completion(lease.task_id, eval_id, "done", result) for lease in chunk], 0)

    parts["claim it"] = micros(claim)
    parts["write its result"] = micros(complete)
    connection.close()
    return parts


def main() -> None:
    listed = tasks.get(N)
    columns: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=state_folder()) as folder:
        for _ in range(RUNS):
            parts = {
                "check it": micros(lambda: check_tasks(listed, eval_name="x")),
                "pickle it": micros(lambda: [pickle.dumps(t, 5) for t in listed]),
                **queue_parts(Path(folder)),
                "run it (executor loop)": micros(executor_loop),
                "for comparison: a bare asyncio task": micros(bare_tasks),
            }
            for name, value in parts.items():
                columns.setdefault(name, []).append(value)
    for name, values in columns.items():
        print(f"{statistics.median(values):6.1f} µs  {name}")


if __name__ == "__main__":
    main()
