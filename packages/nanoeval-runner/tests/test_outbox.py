"""What executors elsewhere have committed reaches the runs of this process once."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

from nanoeval_core.task import Task
from nanoeval_runner._outbox import Outbox
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.rows import ResultBatch


class Committed:
    """A store in which three results were committed, read while others read them too."""

    async def call(self, function: Any, after: int, limit: int) -> tuple[list[Any], list[Any]]:
        assert function is transactions.read_results
        await asyncio.sleep(0)
        return [], [ResultBatch(i, 7, [(i, pickle.dumps(i))]) for i in (1, 2, 3) if i > after]


class Run:
    """Keeps the results that it is told of."""

    def __init__(self) -> None:
        self.tasks = {i: Task(question_id=f"q{i}") for i in (1, 2, 3)}
        self.results: list[Any] = []

    def add(self, fresh: list[tuple[Task, Any]]) -> None:
        self.results += [result for _, result in fresh]


def test_results_that_several_look_for_at_once_are_added_once() -> None:
    """Evals that share a run set and end together look at the same time."""

    async def main() -> list[Any]:
        outbox = Outbox(Committed())  # type: ignore[arg-type]
        run = outbox.runs[7] = Run()  # type: ignore[assignment]
        await asyncio.gather(*(outbox.collect() for _ in range(4)))
        return run.results  # type: ignore[no-any-return]

    assert asyncio.run(main()) == [1, 2, 3]
