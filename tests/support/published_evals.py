"""The published `evals` package, in an environment of its own: `.venv-evals`."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
VENV = Path(os.environ.get("NANOEVAL_EVALS_VENV") or ROOT / ".venv-evals")
PYTHON = VENV / "bin" / "python"

needs_evals = pytest.mark.skipif(
    not PYTHON.exists(),
    reason="the published evals package is not here: python scripts/make_evals_venv.py",
)


def run_there(*command: str, folder: Path, **environment: str) -> str:
    """What a command of that environment prints, errors too; it must succeed."""
    paths = [str(folder), str(ROOT)]
    environ = {
        **os.environ,
        "OPENAI_API_KEY": "unused",
        "PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(paths),
        "HOME": str(folder),
        **environment,
    }
    done = subprocess.run(
        [str(VENV / "bin" / command[0]), *command[1:]],
        capture_output=True,
        text=True,
        env=environ,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def log_utils() -> Any:
    """The real `evals.utils.log_utils`, which imports nothing of the rest."""
    (file,) = VENV.glob("lib/python3*/site-packages/evals/utils/log_utils.py")
    spec = importlib.util.spec_from_file_location("published_log_utils", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scores_of_evals(record: Path, folder: Path) -> dict[str, bool]:
    """What evallib's own eval says of the replies in a record of `SamplesEval`, by sample."""
    output = run_there("python", "-m", "tests.support.score_with_evals", str(record), folder=folder)
    scores: dict[str, bool] = json.loads(output.splitlines()[-1])
    return scores
