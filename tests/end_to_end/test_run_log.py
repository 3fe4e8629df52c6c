"""The log file of a run: JSON Lines, for its owner alone, made when there is something to log."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.solvers.mcq import MockSolver
from nanoeval_runner.run_log import log_file

from examples.gpqa_api import GPQAEval
from tests.support.script import environment, run_python

RUN = ("eval.solver=MockSolver", "runner.n_tasks=3", "runner.run_set_id=mine")


def test_a_script_logs_what_it_does_to_a_file_and_not_to_the_console(tmp_path: Path) -> None:
    done = run_python("-m", "examples.gpqa_simple", *RUN, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "home").rglob("mine.log")
    assert file.stat().st_mode & 0o777 == 0o600
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    assert entries[0]["event"].startswith("gpqa-sample: started (")
    assert entries[-1]["event"].startswith("gpqa-sample: complete (run ")
    assert json.loads(entries[-1]["summary"])["num_tasks"] == 3
    assert {entry["level"] for entry in entries} == {"info"}
    assert entries[0]["timestamp"].endswith("Z")
    assert "started" not in done.stderr


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of its own, and loggers as Python makes them: other tests may have set levels."""
    for name, value in environment(tmp_path).items():
        if name == "HOME" or name.startswith("NANOEVAL_"):
            monkeypatch.setenv(name, value)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    ours = [logging.getLogger(name) for name in ("root", "nanoeval", "nanoeval.runner")]
    former = [logger.level for logger in ours]
    for logger in ours:
        logger.setLevel(logging.WARNING if logger.name == "root" else logging.NOTSET)
    yield tmp_path
    for logger, level in zip(ours, former, strict=True):
        logger.setLevel(level)


def test_a_quiet_run_in_code_makes_no_file(home: Path) -> None:
    runner = RunnerArgs(n_tasks=3, run_set_id="quiet")
    asyncio.run(run(EvalSpec(eval=GPQAEval(solver=MockSolver()), runner=runner)))
    assert not log_file("quiet").exists()
    assert not any(type(h).__name__ == "RunLog" for h in logging.getLogger().handlers)


def test_a_short_run_in_code_loads_neither_structlog_nor_rich(home: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from nanoeval import EvalSpec, RunnerArgs, run\n"
        "from nanoeval.solvers.mcq import MockSolver\n"
        "from examples.gpqa_api import GPQAEval\n"
        "spec = EvalSpec(eval=GPQAEval(solver=MockSolver()), runner=RunnerArgs(n_tasks=12))\n"
        "asyncio.run(run(spec))\n"
        "sys.exit(', '.join({'structlog', 'rich', 'openai'} & set(sys.modules)) or None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stderr


POOLED = """
import asyncio, logging
import chz
from nanoeval import Eval, EvalSpec, RunnerArgs, Task, run

log = logging.getLogger("mine")

@chz.chz
class Talkative(Eval):
    def get_name(self):
        return "talkative"

    async def get_tasks(self):
        return [Task(question_id=f"q{n}") for n in range(20)]

    async def evaluate(self, task):
        log.warning("%s: %s", task.question_id, "x" * 20_000)
        return True

    async def get_summary(self, results):
        return {"n": len(results)}

if __name__ == "__main__":
    runner = RunnerArgs(
        experimental_use_multiprocessing=True, num_processes=2, run_set_id="mine", concurrency=4
    )
    print(asyncio.run(run(EvalSpec(eval=Talkative(), runner=runner)))["n"])
"""


def test_what_processes_of_a_pool_log_is_in_the_file_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "pooled.py").write_text(POOLED)
    done = run_python(tmp_path / "pooled.py", folder=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "20"), done.stderr
    (file,) = (tmp_path / "home").rglob("mine.log")
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    said = [entry for entry in entries if entry["logger"] == "mine"]
    assert sorted(entry["event"].partition(":")[0] for entry in said) == sorted(
        f"q{number}" for number in range(20)
    )
    assert all(entry["executor"] for entry in said)
    assert done.stderr.count("q7: xxx") == 1  # and on the console, as without a log
