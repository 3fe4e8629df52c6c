"""The same 1,000 trivial samples under nanoeval and under inspect_ai, in turn, in this process.

    python benchmarks/peers.py [--small]

Each runner gets what its documentation shows for an eval whose sample needs no model: a task is
looked at, scored, recorded in the runner's default record, and summed up. Prints processor and
wall time of each and their ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chz
from inspect_ai import Task as InspectTask
from inspect_ai import eval as inspect_eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import CORRECT, INCORRECT, Score, accuracy, scorer, stderr
from inspect_ai.solver import solver
from nanoeval import Eval, EvalSpec, RunnerArgs, Task, run
from nanoeval.recorder import get_recorder


class Number(Task):
    value: int


@chz.chz
class Parity(Eval[Number, bool]):
    n: int

    def get_name(self) -> str:
        return "parity"

    async def get_tasks(self) -> list[Number]:
        return [Number(question_id=str(i), value=i) for i in range(self.n)]

    async def evaluate(self, task: Number) -> bool:
        correct = task.value % 2 == 0
        get_recorder().record_match(correct, expected="even", picked=str(task.value))
        return correct

    async def get_summary(self, results: list[tuple[Number, bool]]) -> dict[str, float]:
        return {"accuracy": sum(correct for _, correct in results) / max(1, len(results))}


def with_nanoeval(n: int) -> None:
    summary = asyncio.run(run(EvalSpec(eval=Parity(n=n), runner=RunnerArgs(concurrency=100))))
    assert summary["accuracy"] == 0.5


def with_inspect(n: int, folder: str) -> None:
    @solver
    def nothing() -> Any:
        async def solve(state: Any, generate: Any) -> Any:
            return state

        return solve

    @scorer(metrics=[accuracy(), stderr()])
    def parity() -> Any:
        async def score(state: Any, target: Any) -> Any:
            even = int(state.input_text) % 2 == 0
            return Score(value=CORRECT if even else INCORRECT, answer=state.input_text)

        return score

    samples = [Sample(id=i, input=str(i), target="even") for i in range(1, n + 1)]
    task = InspectTask(dataset=MemoryDataset(samples), solver=nothing(), scorer=parity())
    (log,) = inspect_eval(
        task, model="mockllm/model", log_dir=folder, display="none", max_samples=100
    )
    assert log.status == "success"


def measured(work: Callable[[], None]) -> tuple[float, float]:
    """Processor and wall seconds of `work`."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a quick look, not a measurement")
    n, runs = (20, 1) if parser.parse_args().small else (1000, 5)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("NANOEVAL_LOG_DIR", "NANOEVAL_STATE_DIR", "NANOEVAL_BACKUP_DIR"):
            os.environ[name] = str(Path(folder) / name)
        with_nanoeval(10)
        with_inspect(10, folder)
        ours, theirs = [], []
        for _ in range(runs):
            ours.append(measured(lambda: with_nanoeval(n)))
            theirs.append(measured(lambda: with_inspect(n, folder)))
    for index, what in enumerate(("processor", "wall")):
        a = statistics.median(times[index] for times in ours)
        b = statistics.median(times[index] for times in theirs)
        print(
            f"{n} trivial samples, {what}: nanoeval {a:.3f} s, inspect_ai {b:.3f} s, {b / a:.0f} x"
        )


if __name__ == "__main__":
    main()
