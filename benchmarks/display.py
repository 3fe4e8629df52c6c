"""What the display costs: python benchmarks/display.py [--small]

4,096 tasks wait side by side, drawn as on a terminal. The processor time of everything that the
display does (asking the state file, keeping the score, drawing) is set against the
time that the run takes. Prints the median of several runs.
"""

from __future__ import annotations

import asyncio
import functools
import os
import statistics
import sys
import tempfile
import time
from typing import Any

import chz
from nanoeval import Eval, EvalSpec, RunnerArgs, Task, run
from nanoeval.recorder import dummy_recorder
from nanoeval_runner._display import tally, terminal
from nanoeval_runner._queue import transactions

SMALL = "--small" in sys.argv
TASKS, SECONDS, ROUNDS = (64, 0.5, 1) if SMALL else (4096, 8.0, 5)


@chz.chz
class Waiting(Eval[Task, bool]):
    def get_name(self) -> str:
        return "waiting"

    async def get_tasks(self) -> list[Task]:
        return [Task(question_id=str(number)) for number in range(TASKS)]

    async def evaluate(self, task: Task) -> bool:
        # Over at different times, so that there is always something new to draw.
        await asyncio.sleep(SECONDS * (0.3 + 0.7 * int(task.question_id) / TASKS))
        return True

    async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, float]:
        return {"accuracy": 1.0}


class Meter:
    """Adds up the processor time of some functions, on whatever threads they run."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def watch(self, owner: Any, name: str) -> None:
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            before = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.thread_time() - before

        setattr(owner, name, timed)


def share(meter: Meter) -> float:
    """The part of a processor that the display takes during one run."""
    runner = RunnerArgs(recorder=dummy_recorder(), should_backup=False)
    before, started = meter.seconds, time.monotonic()
    asyncio.run(run(EvalSpec(eval=Waiting(), runner=runner)))
    return (meter.seconds - before) / (time.monotonic() - started)


def main() -> None:
    meter = Meter()
    for owner, name in (
        (terminal.Terminal, "show"),
        (tally.Tally, "catch_up"),
        (tally.Tally, "summary"),
        (transactions, "list_evals"),
        (transactions, "list_executors"),
    ):
        meter.watch(owner, name)
    os.environ["NANOEVAL_PROGRESS"] = "live"
    with (
        tempfile.TemporaryDirectory() as state,
        open(os.devnull, "w", encoding="utf-8") as screen,
    ):
        os.environ["NANOEVAL_STATE_DIR"] = state
        shown, sys.stderr = sys.stderr, screen
        try:
            share(meter)  # loads what drawing needs
            shares = [share(meter) for _ in range(ROUNDS)]
        finally:
            sys.stderr = shown
    print(f"{TASKS:,} tasks in flight: the display takes")
    print(f"{100 * statistics.median(shares):.2f} % of a processor (median of {ROUNDS})")


if __name__ == "__main__":
    main()
