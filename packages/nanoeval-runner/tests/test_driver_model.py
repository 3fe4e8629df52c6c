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
from hypothesis import HealthCheck, example, given, settings
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
FATES = ("finish", "fail", "drain", "flaky", "wait")
Step = tuple[str, Any]
steps = st.lists(
    st.tuples(st.just("join"), st.sampled_from(FATES))
    | st.tuples(st.sampled_from(["leave", "finish"]), st.integers(0, 3)),
    min_size=1,
    max_size=8,
)
"""Evals join by their fate; those that wait leave, or finish, by their place among such."""


class World:
    """What the evals of one example do, and have done."""

    def __init__(self) -> None:
        self.fates: list[str] = []
        self.finished: Counter[tuple[str, str]] = Counter()
        self.walls: dict[int, asyncio.Event] = {}
        self.arrived: dict[int, asyncio.Event] = {}


world: World


@chz.chz
class Driven(Eval[Task, str]):
    """Task q0 of an eval that waits stops at its wall; the others go on."""

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
        if task.question_id == "q0" and fate == "wait":
            world.arrived[self.number].set()
            await world.walls[self.number].wait()
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


async def drive(history: list[Step], *, interrupt: bool) -> list[tuple[str, Any]]:
    """Take the steps in their order; return how each eval was to end, and what its run came to."""
    runs: list[asyncio.Task[dict[str, Any]]] = []
    waiting: list[int] = []
    for step, which in history:
        if step == "join":
            number = len(runs)
            world.fates.append(which)
            world.walls[number], world.arrived[number] = asyncio.Event(), asyncio.Event()
            runs.append(asyncio.create_task(run(spec(number, which))))
            if which == "wait":
                waiting.append(number)
                await world.arrived[number].wait()
        elif which < len(waiting):
            number = waiting.pop(which)
            world.fates[number] = step
            if step == "leave":
                runs[number].cancel()
            else:
                world.walls[number].set()
            await asyncio.wait([runs[number]])
    if interrupt:
        os.kill(os.getpid(), signal.SIGINT)
    else:
        for number in waiting:
            world.walls[number].set()
    came = await asyncio.gather(*runs, return_exceptions=True)
    return list(zip(world.fates, came, strict=True))


ENDS = {"fail": ExceptionGroup, "leave": asyncio.CancelledError, "drain": BudgetExceeded}


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(history=steps, interrupt=st.booleans())
@example(
    history=[("join", "wait"), ("join", "fail"), ("leave", 0), ("join", "drain")], interrupt=False
)
@example(
    history=[("join", "wait"), ("finish", 0), ("join", "wait"), ("join", "flaky")], interrupt=True
)
def test_every_task_is_done_once_whatever_becomes_of_the_runs(
    history: list[Step], interrupt: bool
) -> None:
    global world  # noqa: PLW0603  evals are copied: this is how they find what is shared
    joined = [which for step, which in history if step == "join"]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv("NANOEVAL_STATE_DIR", folder)
        patch.setenv("NANOEVAL_PROGRESS", "off")
        world = World()
        if interrupt:
            with pytest.raises(KeyboardInterrupt):
                asyncio.run(drive(history, interrupt=True))
        else:
            for fate, came in asyncio.run(drive(history, interrupt=False)):
                assert isinstance(came, ENDS.get(fate, dict)), (fate, came)
        path = Path(folder) / f"{SET}.db"
        for row in read_state_file(path).evals if path.exists() else ():
            assert row.leased == 0
            assert row.done + row.failed + row.queued == row.total

        before, world = world.finished, World()
        again = asyncio.run(drive([("join", "finish")] * len(joined), interrupt=False))
        assert all(summary["names"] == [f"q{i}" for i in range(5)] for _, summary in again)
        for row in read_state_file(path).evals if joined else ():
            assert (row.state, row.done, row.queued, row.leased) == ("done", 5, 0, 0)
        # What was committed before is not run again; what was cut off may be.
        assert set((before + world.finished).values()) <= {1, 2}
