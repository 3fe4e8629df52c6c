"""Every benchmark runs: small, to the end. What it measures is for a quiet machine to say."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.workspace import ROOT

HELPERS = {"api_server", "noop_eval", "page_reader"}
HELPERS |= {"lines_of_code"}  # counts, measures nothing: test_docs holds it against the page
NEEDS = {"ray_executors": ("ray", "pip install nanoeval-ray")}
BENCHMARKS = sorted(
    path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem not in HELPERS
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", BENCHMARKS)
def test_it_runs_small(name: str, tmp_path: Path) -> None:
    package, command = NEEDS.get(name, ("nanoeval_core", ""))
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not here: {command}")
    folders = {
        f"NANOEVAL_{what}_DIR": str(tmp_path / what.lower()) for what in ("STATE", "LOG", "BACKUP")
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--small"],
        cwd=tmp_path,
        env=os.environ | folders,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
