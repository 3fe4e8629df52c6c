"""What `nanoeval clean` removes and keeps, and commands about the machines of computer tasks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.test_commands_in_a_terminal import piped
from tests.support.script import environment

pytestmark = pytest.mark.timeout(200)  # several processes a test

DAY = 86_400


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    assert piped("new", "sums", folder=tmp_path).returncode == 0
    for words in (("recorded",), ("dummy", "runner.recorder=dummy")):
        run_set, *more = words
        done = piped("run", "sums.py:Sums", f"runner.run_set_id={run_set}", *more, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    return tmp_path


def what_goes(folder: Path, *words: str) -> set[str]:
    done = piped("clean", "--dry-run", "--json", *words, folder=folder)
    assert done.returncode == 0, done.stderr
    return {f"{one['what']} {Path(one['path']).name}" for one in json.loads(done.stdout)}


def test_what_has_no_other_trace_is_kept(ran: Path) -> None:
    assert what_goes(ran) == {"state recorded.db", "backup recorded.db"}
    kept = piped("clean", "--dry-run", folder=ran)
    assert "left alone: dummy has no record (--without-record removes it)" in kept.stderr
    assert {"state dummy.db", "backup dummy.db"} <= what_goes(ran, "--without-record")


SILENT = """
import chz
from nanoeval import Eval, Task

@chz.chz
class Silent(Eval[Task, bool]):
    def get_name(self): return "silent"
    async def get_tasks(self): return [Task(question_id="a")]
    async def evaluate(self, task): return True
    async def get_summary(self, results): return {"accuracy": 1.0}
"""


def test_a_run_that_recorded_no_event_has_a_record(tmp_path: Path) -> None:
    (tmp_path / "silent.py").write_text(SILENT)
    ran = piped("run", "silent.py:Silent", "runner.run_set_id=silent", folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert what_goes(tmp_path) == {"state silent.db", "backup silent.db"}


def test_it_leaves_nothing_of_ours_behind(ran: Path) -> None:
    (ran / "state" / "gone.lock").touch()
    (ran / "state" / "gone.shared").mkdir()
    (ran / "backups" / ".gone.db.part").touch()
    done = piped("clean", "--without-record", "--yes", folder=ran)
    assert done.returncode == 0, done.stderr
    assert "2 × state" in done.stderr
    assert not (ran / "state").exists()
    assert not (ran / "backups").exists()
    assert len(list((ran / "records").glob("*.jsonl"))) == 1


def test_logs_have_an_age(ran: Path) -> None:
    (log,) = ran.rglob("recorded.log")
    assert not [one for one in what_goes(ran) if one.startswith("log")]
    old = time.time() - 31 * DAY
    os.utime(log, (old, old))
    assert "log recorded.log" in what_goes(ran)
    shown = piped("clean", "--dry-run", folder=ran).stdout
    assert "31 days" in shown


def test_what_is_being_run_is_left_alone(ran: Path) -> None:
    import fcntl

    with (ran / "state" / "recorded.lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert what_goes(ran, "--unfinished") == set()


def test_shell_and_keep_machines_are_about_computer_tasks(ran: Path) -> None:
    done = piped("shell", "sums.py:Sums", folder=ran)
    assert done.returncode == 2
    assert "has no field that is a ComputerRuntime" in done.stderr
    done = piped("run", "sums.py:Sums", "--keep-machines", folder=ran)
    assert done.returncode == 2
    assert "Sums starts no machines" in done.stderr


MACHINES = """
import chz
from nanoeval.solvers.computer_tasks.local import LocalRuntime
from nanoeval.solvers.computer_tasks.mock_agent import MockAgentSolver
from nanoeval.solvers.computer_tasks.solver import (
    ComputerTask,
    Grade,
    PythonCodingEval,
    PythonCodingSolver,
)


class Sum(ComputerTask):
    async def _setup(self, computer, runtime_config):
        await computer.upload(b"20 22", "/root/numbers")

    async def grade(self, computer, runtime_config):
        answer = await computer.send_shell_command("cat ANSWER.txt")
        return Grade(score=float(answer.output.strip() == b"42"), grader_log="looked at ANSWER.txt")

    async def play_solution(self, computer, runtime_config):
        await computer.upload(b"42", "/root/ANSWER.txt")


class Unsolvable(Sum):
    async def play_solution(self, computer, runtime_config):
        raise ValueError("no way")


class GivenAway(ComputerTask):
    async def _setup(self, computer, runtime_config):
        pass

    async def grade(self, computer, runtime_config):
        return Grade(score=1, grader_log="always")


@chz.chz
class Sums(PythonCodingEval):
    solver: PythonCodingSolver = chz.field(
        default_factory=lambda: MockAgentSolver(
            runtime=LocalRuntime(), scripts={"*": [[("submit", {"answer": "42"})]]}
        )
    )

    def get_name(self):
        return "sums"

    async def get_instances(self):
        prompt = [{"role": "user", "content": "add the numbers"}]
        kinds = (Sum, Unsolvable, GivenAway)
        return [kind(question_id=kind.__name__, prompt=prompt) for kind in kinds]
"""


@pytest.fixture
def machines(tmp_path: Path) -> Path:
    (tmp_path / "machines.py").write_text(MACHINES)
    return tmp_path


def test_validate_plays_solutions_and_does_nothing(machines: Path) -> None:
    done = piped("validate", "machines.py", folder=machines)
    assert done.returncode == 1, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "task 'GivenAway.0': doing nothing scores 1.0, not 0",
        "task 'Sum.0': ok",
        "task 'Unsolvable.0': its own solution scores nothing (no way), not 1",
    ]
    assert "1 of 3 tasks have no play_solution" in done.stderr
    assert "1 of 3 tasks passed." in done.stderr
    one = piped("validate", "machines.py", "Sum", "Sum.0", "--json", folder=machines)
    assert one.returncode == 0, one.stderr
    assert json.loads(one.stdout) == [{"task": "Sum.0", "has_solution": True, "problems": []}]


def test_validate_names_what_is_missing(machines: Path) -> None:
    done = piped("validate", "machines.py", "Product", folder=machines)
    assert done.returncode == 2
    assert "there is no task 'Product'. There are:\n  Sum\n" in done.stderr
    done = piped("validate", "machines.py", "solver=DummyPythonCodingSolver", folder=machines)
    assert done.returncode == 2
    assert "solver=MockAgentSolver solver.runtime=LocalRuntime" in done.stderr


def test_a_person_works_in_the_machine_of_a_task(machines: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nanoeval", "shell", "machines.py", "Sum"],
        input="cat numbers; false\nprintf 42 > ANSWER.txt\nexit\n",
        capture_output=True,
        text=True,
        env=environment(machines),
        cwd=machines,
        check=True,
    )
    assert "user: add the numbers\n$ 20 22[exit code 1]\n" in done.stdout
    assert done.stdout.endswith("score 1\nlooked at ANSWER.txt\n")


def test_a_model_alone_chooses_the_agent_that_then_needs_a_runtime(machines: Path) -> None:
    done = piped("run", "machines.py", "--model", "m", folder=machines)
    assert done.returncode == 2
    assert "missing: solver.runtime. Give solver.runtime=…, one of Bubblewrap" in done.stderr
    shown = piped(
        "run", "machines.py", "model=m", "solver.runtime=LocalRuntime", "-h", folder=machines
    )
    assert "ToolAgentSolver" in shown.stdout
    assert "solver.model.model  str, given as m" in shown.stdout


def test_kept_machines_say_where_they_are(machines: Path) -> None:
    kept = piped("run", "machines.py", "--keep-machines", "runner.n_tasks=1", folder=machines)
    assert kept.returncode == 0, kept.stderr
    (folder,) = re.findall(r"machine kept; enter it with: cd (\S+)/home", kept.stderr)
    assert Path(folder, "home", "ANSWER.txt").read_text() == "42"
    shutil.rmtree(folder)
