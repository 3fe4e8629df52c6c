"""The demonstrations, as their first lines say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.script import run_python

DEMO = "nanoeval.solvers.computer_tasks.demo"


@pytest.mark.parametrize("name", ["agent", "runtime"])
def test_demonstrations_explain_themselves(name: str, tmp_path: Path) -> None:
    done = run_python("-m", f"{DEMO}.{name}", "--help", folder=tmp_path)
    assert {"agent": "solver", "runtime": "runtime"}[name] in done.stdout


def test_a_solver_is_tried(tmp_path: Path) -> None:
    solver = "solver=nanoeval.solvers.computer_tasks.solver:DummyPythonCodingSolver"
    done = run_python("-m", f"{DEMO}.agent", solver, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "solved by the dummy solver" in done.stdout


def test_a_solver_is_tried_in_a_machine(tmp_path: Path) -> None:
    where = "nanoeval.solvers.computer_tasks"
    done = run_python(
        *("-m", f"{DEMO}.agent", f"solver={where}.mock_agent:MockAgentSolver"),
        f"solver.runtime={where}.local:LocalRuntime",
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "the file holds" in done.stdout
