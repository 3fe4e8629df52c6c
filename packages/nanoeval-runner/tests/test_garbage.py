"""How often Python collects garbage while a run goes, and that the program's choice comes back."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chz
import pytest
from nanoeval_core import Eval, EvalSpec, RunnerArgs, Task, dummy_recorder
from nanoeval_runner import run

ALLOCATIONS = 50_000


@chz.chz
class Looking(Eval[Task, int]):
    chooses: int | None = None

    def get_name(self) -> str:
        return "looking"

    async def get_tasks(self) -> list[Task]:
        return [Task(question_id="q")]

    async def evaluate(self, task: Task) -> int:
        found = gc.get_threshold()[0]
        if self.chooses is not None:
            gc.set_threshold(self.chooses, 7, 8)
        return found

    async def get_summary(self, results: list[tuple[Task, int]]) -> dict[str, Any]:
        return {"threshold": results[0][1]}


@pytest.fixture
def threshold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NANOEVAL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


async def seen(threshold: int | None = ALLOCATIONS, chooses: int | None = None) -> int:
    runner = RunnerArgs(recorder=dummy_recorder(), should_backup=False, gc_threshold=threshold)
    summary = await run(EvalSpec(eval=Looking(chooses=chooses), runner=runner))
    return int(summary["threshold"])


@pytest.mark.parametrize(
    ("chosen", "meanwhile"), [(700, ALLOCATIONS), (0, 0), (ALLOCATIONS * 2, ALLOCATIONS * 2)]
)
def test_the_programs_threshold_comes_back(threshold: None, chosen: int, meanwhile: int) -> None:
    gc.set_threshold(chosen, 7, 8)
    assert asyncio.run(seen()) == meanwhile
    assert gc.get_threshold() == (chosen, 7, 8)


def test_a_run_that_asks_for_none_leaves_the_programs_alone(threshold: None) -> None:
    gc.set_threshold(701, 7, 8)
    assert asyncio.run(seen(None)) == 701


def test_it_comes_back_after_the_last_of_several_runs(threshold: None) -> None:
    async def both() -> list[int]:
        return await asyncio.gather(seen(), seen())

    gc.set_threshold(700, 7, 8)
    assert asyncio.run(both()) == [ALLOCATIONS, ALLOCATIONS]
    assert gc.get_threshold() == (700, 7, 8)


def test_what_the_program_chooses_during_a_run_stays(threshold: None) -> None:
    gc.set_threshold(700, 7, 8)
    assert asyncio.run(seen(chooses=900)) == ALLOCATIONS
    assert gc.get_threshold() == (900, 7, 8)
    assert asyncio.run(seen()) == ALLOCATIONS
    assert gc.get_threshold() == (900, 7, 8)
