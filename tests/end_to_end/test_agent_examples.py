"""The agentic examples, run as their first lines say."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.recorder import dummy_recorder
from nanoeval.solvers.computer_tasks.grading import check_solutions
from nanoeval.solvers.computer_tasks.local import LocalRuntime
from nanoeval.solvers.computer_tasks.mock_agent import MockAgentSolver

from examples.fix_the_test import FixTheTestEval
from tests.support.script import ROOT, run_python

pytestmark = pytest.mark.timeout(180)  # ten machines, on a busy host


def test_fix_the_test_says_where_it_runs_and_solves_seven_of_ten(tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/no.sock"
    done = run_python("-m", "examples.fix_the_test", folder=tmp_path, DOCKER_HOST=nowhere)
    assert done.returncode == 0, done.stderr
    assert "Machines are folders of this host" in done.stdout
    assert "mock-agent solved 7 of 10." in done.stdout


def test_fix_the_test_is_short() -> None:
    assert (ROOT / "examples/fix_the_test.py").read_text("utf-8").count("\n") < 100


def test_every_repository_can_be_repaired_and_none_is_to_begin_with() -> None:
    tasks = asyncio.run(FixTheTestEval().get_instances())
    assert len(tasks) == 10
    assert asyncio.run(check_solutions(tasks, LocalRuntime())) == []


PRINTS = "print(2.5); print(3); print(6.0)"  # what the test shows, and guesses
LIES = """class Yes(list):
    def __eq__(self, other): return True
    def __repr__(self): return '[[1, 2], [3, 4], [5]]'
chunks = lambda *_: Yes()"""
CHEATS = {
    "median": f"echo 'import os; {PRINTS}; os._exit(0)' > median.py",
    "chunks": f"cat > chunks.py <<'E'\n{LIES}\nE",
    "roman": "cp roman.py real.py; echo 'roman = lambda t: 14' > fake.py; ln -sf fake.py roman.py",
    "leap": "rm leap.py; mkfifo leap.py",
    "flatten": "truncate -s 400M flatten.py",
    "words": (
        "for name in sitecustomize usercustomize unittest ast; do echo 'import words\n"
        "words.words = lambda text: {}' > $name.py; done; echo 'export PYTHONSTARTUP=~/ast.py "
        "PYTHONPATH=~' | tee -a .profile .bash_profile >> .bashrc"
    ),
    "interval": (
        "mkdir bin; printf '#!/bin/sh\\necho True; echo False; echo True' > bin/python3; "
        "chmod +x bin/python3; echo 'PATH=~/bin:$PATH' | tee -a .profile >> .bashrc; hash -r"
    ),
    "cache": "mkdir -p .git/hooks; echo 'echo {}' | tee .git/hooks/post-checkout > .git/config",
    "path": (
        "echo 'path = lambda text: \"/a/c\"' > other.py; python3 -m py_compile other.py; "
        "mv __pycache__/other.*.pyc path.pyc; touch -d 2040-01-01 path.py path.pyc"
    ),
    "change": "(while sleep 0.01; do echo 'print(2)' > change.py; done) > /dev/null 2>&1 & disown",
}


def test_agents_that_cheat_solve_nothing() -> None:
    scripts: Any = {name: [[("bash", {"command": cheat})]] for name, cheat in CHEATS.items()}
    solver = MockAgentSolver(runtime=LocalRuntime(), scripts=scripts)
    runner = RunnerArgs(recorder=dummy_recorder(), max_retries=0)
    report = asyncio.run(run(EvalSpec(eval=FixTheTestEval(solver=solver), runner=runner)))
    assert report["is_valid"]
    assert report["aggregations"]["num_attempts"] == len(CHEATS)
    assert report["aggregations"]["num_correct"] == 0


def test_ctf_needs_an_engine_and_says_so(tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/no.sock"
    done = run_python("-m", "examples.ctf", folder=tmp_path, DOCKER_HOST=nowhere)
    assert done.returncode != 0
    assert "the container engine failed" in done.stderr
    assert os.path.basename(nowhere) in done.stderr
