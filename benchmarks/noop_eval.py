"""The evals that the engine's benchmarks run, and the bare loops they are compared with."""

from __future__ import annotations

import asyncio
import os
import pickle
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import chz
from nanoeval_core import Eval, Task, get_recorder

CONCURRENCY = 4096
BATCH = 500


class Tasks:
    """Lists of tasks, made once: making them is the eval's work, not the runner's."""

    def __init__(self) -> None:
        self._made: dict[int, list[Task]] = {}

    def get(self, n: int) -> list[Task]:
        if n not in self._made:
            self._made[n] = [Task(question_id=f"question-{i}") for i in range(n)]
        return self._made[n]


tasks = Tasks()


@chz.chz
class BenchEval(Eval[Task, bool]):
    """`n` tasks that do nothing, wait, or compute."""

    n: int
    wait: float = 0.0
    compute: float = 0.0
    record: bool = False

    def get_name(self) -> str:
        return "bench"

    async def get_tasks(self) -> list[Task]:
        return tasks.get(self.n)

    async def evaluate(self, task: Task) -> bool:
        if self.wait:
            await asyncio.sleep(self.wait)
        if self.compute:
            compute(self.compute)
        if self.record:
            get_recorder().record_match(True, expected="A", picked="A")
        return True

    async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
        return {"correct": sum(correct for _, correct in results)}

    async def get_full_summary(self, results: list[tuple[Task, Any]]) -> dict[str, Any]:
        return await self.get_summary(results)


def compute(seconds: float) -> None:
    """Use the processor for this long, by its own clock."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


async def bare_loop(
    listed: Sequence[Task], work: Callable[[Task], Awaitable[bool]], concurrency: int
) -> None:
    """The same work without a runner: asyncio tasks, a semaphore, batches into sqlite."""
    with tempfile.TemporaryDirectory(dir=state_folder()) as folder:
        connection = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("CREATE TABLE result (task TEXT PRIMARY KEY, value BLOB)")
        semaphore = asyncio.Semaphore(concurrency)
        rows: list[tuple[str, bytes]] = []

        def write() -> None:
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO result VALUES (?, ?)", rows)
            connection.execute("COMMIT")
            rows.clear()

        async def one(task: Task) -> None:
            async with semaphore:
                result = await work(task)
            rows.append((task.name, pickle.dumps(result, pickle.HIGHEST_PROTOCOL)))
            if len(rows) >= BATCH:
                write()

        async with asyncio.TaskGroup() as group:
            for task in listed:
                group.create_task(one(task))
        write()
        connection.close()


def state_folder() -> str | None:
    """Where the state file would be: the bare loop writes to the same file system."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
