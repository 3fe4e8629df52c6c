"""The driver against a model: evals join, leave, fail, drain and are interrupted, in any order."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import chz
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nanoeval_core.errors import BudgetExceeded, RolloutSystemError
from nanoeval_core.eval import Eval
from nanoeval_core.recorder import dummy_recorder
from nanoeval_core.spec import EvalSpec, RunnerArgs
from nanoeval_core.task import Task
from nanoeval_core.usage import Usage, report_usage
from nanoeval_runner import run
from nanoeval_runner.state_files import read_state_file

SET = "model"
FATES = ("finish", "fail", "leave", "drain", "flaky")


class World:
    """What the evals of one example do, and have done."""

    def __init__(self, fates: list[str], interrupt: bool) -> None:
        self.fates = fates
        self.interrupt = interrupt
        self.finished: Counter[tuple[str, str]] = Counter()
        self.at_the_wall = 0
        self.wall = asyncio.Event()
        self.arrived = asyncio.Event()


world: World


@chz.chz
class Driven(Eval[Task, str]):
    """Task q0 stops at a wall in evals that leave, drain or are interrupted; the others go on."""

    number: int

    def get_name(self) -> str:
        return f"eval-{self.number}"

    async def get_tasks(self) -> list[Task]:
        return [Task(question_id=f"q{i}") for i in range(5)]

    async def evaluate(self, task: Task) -> str:
        fate = world.fates[self.number]
        if fate == "flaky" and not task.retry_idx:
            raise RolloutSystemError("down")
        if fate == "drain":
            report_usage(Usage(requests=1, prompt_tokens=10))
        if fate == "fail" and task.question_id == "q3":
            raise ValueError("boom")
        if task.question_id == "q0" and (fate == "leave" or world.interrupt):
            world.at_the_wall += 1
            world.arrived.set()
            await world.wall.wait()
        world.finished[self.get_name(), task.question_id] += 1
        return task.question_id

    async def get_summary(self, results: list[tuple[Task, str]]) -> dict[str, Any]:
        return {"names": sorted(result for _, result in results)}


def spec(number: int, fate: str) -> EvalSpec:
    runner = RunnerArgs(
        recorder=dummy_recorder(),
        should_backup=False,
        enable_slackbot=False,
        run_set_id=SET,
        retry_backoff=0.0,
        shutdown_grace=0.01,
        concurrency=2,
        budget_tokens=20 if fate == "drain" else None,
    )
    return EvalSpec(eval=Driven(number=number), runner=runner)


async def drive(fates: list[str], interrupt: bool) -> list[Any]:
    """Run all of them together; return what each run came to."""
    global world  # noqa: PLW0603  evals are copied: this is how they find what is shared
    world = World(fates, interrupt)
    runs = [asyncio.create_task(run(spec(i, fate))) for i, fate in enumerate(fates)]
    stopping = len(fates) if interrupt else fates.count("leave")
    while world.at_the_wall < stopping:
        await world.arrived.wait()
        world.arrived.clear()
    for task, fate in zip(runs, fates, strict=True):
        if fate == "leave":
            task.cancel()
    if interrupt:
        os.kill(os.getpid(), signal.SIGINT)
    return await asyncio.gather(*runs, return_exceptions=True)


@settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))
@given(
    fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=4),
    interrupt=st.booleans(),
)
def test_every_task_is_done_once_whatever_becomes_of_the_runs(
    fates: list[str], interrupt: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv("NANOEVAL_STATE_DIR", folder)
        patch.setenv("NANOEVAL_PROGRESS", "off")
        if interrupt:  # all of them stand at the wall then
            fates = ["leave" if fate == "leave" else "finish" for fate in fates]
            with pytest.raises(KeyboardInterrupt):
                asyncio.run(drive(fates, interrupt=True))
        else:
            for fate, came in zip(fates, asyncio.run(drive(fates, interrupt=False)), strict=True):
                expected = {
                    "fail": ExceptionGroup,
                    "leave": asyncio.CancelledError,
                    "drain": BudgetExceeded,
                }.get(fate, dict)
                assert isinstance(came, expected)
        path = Path(folder) / f"{SET}.db"
        before = world.finished
        for row in read_state_file(path).evals:
            assert row.leased == 0
            assert row.done + row.failed + row.queued == row.total

        again = asyncio.run(drive(["finish"] * len(fates), interrupt=False))
        assert all(summary["names"] == [f"q{i}" for i in range(5)] for summary in again)
        for row in read_state_file(path).evals:
            assert (row.state, row.done, row.queued, row.leased) == ("done", 5, 0, 0)
        # What was committed before is not run again; what was cut off may be.
        finished = before + world.finished
        assert set(finished.values()) <= {1, 2}
