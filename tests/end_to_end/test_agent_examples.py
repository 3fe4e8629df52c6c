"""The agentic examples, run as their first lines say."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from nanoeval.solvers.computer_tasks.grading import check_solutions
from nanoeval.solvers.computer_tasks.local import LocalRuntime

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


def test_ctf_needs_an_engine_and_says_so(tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/no.sock"
    done = run_python("-m", "examples.ctf", folder=tmp_path, DOCKER_HOST=nowhere)
    assert done.returncode != 0
    assert "the container engine failed" in done.stderr
    assert os.path.basename(nowhere) in done.stderr
