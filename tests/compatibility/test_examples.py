"""The GPQA scripts that `python -m nanoeval.examples.…` runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.script import ROOT, run_python

CSV = str(ROOT / "examples" / "gpqa_sample.csv")


@pytest.mark.parametrize("name", ["gpqa_mock", "gpqa_mock_mp"])
def test_mock_runs_report_an_accuracy(tmp_path: Path, name: str) -> None:
    done = run_python("-m", f"nanoeval.examples.{name}", folder=tmp_path, NANOEVAL_GPQA_CSV=CSV)
    assert done.returncode == 0, done.stderr


def test_the_command_line(tmp_path: Path) -> None:
    done = run_python(
        *("-m", "nanoeval.examples.gpqa_simple", f"gpqa.data={CSV}", "runner.n_tasks=5"),
        *("gpqa.solver=nanoeval.solvers.mcq:MockSolver", "runner.recorder=dummy"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n"] == 5


def test_a_csv_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    done = run_python(
        *("-m", "nanoeval.examples.gpqa_simple", "gpqa.data=nowhere.csv"),
        "gpqa.solver=nanoeval.solvers.mcq:MockSolver",
        folder=tmp_path,
    )
    assert done.returncode == 2
    assert "data='nowhere.csv' cannot be read" in done.stderr
    assert "NANOEVAL_GPQA_CSV" in done.stderr
