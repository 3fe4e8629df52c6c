"""What an import loads, as sets of absent modules. Ratios: benchmarks/import_cost.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

NEVER = {
    "openai",
    "aiohttp",
    "aiosqlite",
    "anyio",
    "multiprocess",
    "dill",
    "pandas",
    "numpy",
    "httpx",
    "rich",
}


def loaded_by(statement: str) -> set[str]:
    """Top-level names in `sys.modules` after `statement`, in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import nanoeval", {"nanoeval_core", "nanoeval_runner", "nanoeval_solvers", "chz"}),
        ("import nanoeval_core", {"asyncio", "pydantic.main"}),
        ("from nanoeval import Eval, EvalSpec, RunnerArgs, Task", {"nanoeval_runner"}),
        ("import nanoeval.eval, nanoeval.recorder, nanoeval.library_config", {"nanoeval_runner"}),
        ("from nanoeval_core import *", {"nanoeval_core.metrics.standard"}),
        ("import nanoeval.solvers.mcq", {"nanoeval_runner"}),
        ("import nanoeval.solvers.mcq_api", {"nanoeval_runner"}),
    ],
)
def test_import_loads_nothing_that_it_does_not_need(statement: str, absent: set[str]) -> None:
    assert not loaded_by(statement) & (NEVER | absent)


def test_commands_that_look_at_runs_load_no_eval() -> None:
    for command in ("ls", "show", "samples"):
        loaded = loaded_by(f"import nanoeval_cli._commands.{command}_command")
        assert not loaded & {"pydantic.main", "nanoeval_core.eval", "nanoeval_core.spec"}


def test_running_in_process_does_not_load_what_pools_and_clients_need() -> None:
    assert not loaded_by("from nanoeval import run") & {"openai", "multiprocess", "pandas", "numpy"}
