"""Evals of questions, as published, whose run is killed and begun again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from nanoeval_recorder import read
from nanoeval_recorder.reading.events import Match

ROOT = Path(__file__).parents[2]

SCRIPT = """
import asyncio, json, os, signal, sys
from pathlib import Path

import chz
from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.solvers.mcq import Answer, MCQEval, MCQSolver, MCQTask, Question

NOTES = Path(sys.argv[1])


@chz.chz
class Killed(MCQSolver[Answer]):
    async def solve(self, task: MCQTask) -> Answer:
        if len(list(NOTES.glob("*.note"))) == 7 and not (NOTES / "go").exists():
            os.kill(int((NOTES / "driver").read_text()), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        (NOTES / f"{task.name}.{os.getpid()}.note").touch()
        picked = task.attempt_id % 2
        return Answer(correct=picked in task.question.correct_indices, picked=picked)


@chz.chz
class Numbered(MCQEval):
    def get_name(self) -> str:
        return "numbered"

    async def _get_tasks(self) -> list[Question]:
        asked = ("1?", "2?", "3?", "4?")
        return [Question(question=q, answers=["a", "b"], correct_indices={0}) for q in asked]


if __name__ == "__main__":
    (NOTES / "driver").write_text(str(os.getpid()))
    runner = RunnerArgs(run_set_id="killed", concurrency=1, **json.loads(sys.argv[2]))
    spec = EvalSpec(eval=Numbered(solver=Killed(), n_consensus=3), runner=runner)
    print(json.dumps(asyncio.run(run(spec)), default=str))
"""


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    "runner",
    [{}, {"experimental_use_multiprocessing": True, "num_processes": 1}],
    ids=["in", "out"],
)
def test_attempts_that_were_done_are_not_run_again(tmp_path: Path, runner: dict[str, Any]) -> None:
    script, notes = tmp_path / "script.py", tmp_path / "notes"
    script.write_text(SCRIPT)
    notes.mkdir()
    folders = {
        "NANOEVAL_STATE_DIR": str(tmp_path / "state"),
        "NANOEVAL_LOG_DIR": str(tmp_path / "records"),
        "NANOEVAL_BACKUP_DIR": str(tmp_path / "backups"),
    }

    def begin() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(script), str(notes), json.dumps(runner)],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=os.environ | folders,
        )

    killed = begin()
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(list(notes.glob("*.note"))) == 7
    sql = "SELECT question_id, attempt_id FROM task WHERE state = 'done'"
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "killed.db")) as state:
        before = {f"{question}.{attempt}" for question, attempt in state.execute(sql)}
    (notes / "go").touch()
    done = begin()
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    # Attempts 0 and 2 of each of four questions pick the right choice, attempt 1 the wrong one.
    assert summary["accuracy"] == pytest.approx(2 / 3)
    assert summary["pass@1"] == pytest.approx(2 / 3)
    assert (summary["pass@3"], summary["cons@3"]) == (1, 1)
    ran = Counter(note.name.rsplit(".", 2)[0] for note in notes.glob("*.note"))
    assert ran.keys() == {f"numbered.{i}.{attempt}" for i in range(4) for attempt in range(3)}
    assert {name: ran[name] for name in before} == dict.fromkeys(before, 1)
    matches = [event for event in read(tmp_path / "records") if isinstance(event, Match)]
    recorded = {f"{one.sample_id}.{(one.group_id or '').partition('.')[0]}" for one in matches}
    assert recorded == ran.keys()
