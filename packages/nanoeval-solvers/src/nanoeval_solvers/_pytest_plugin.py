"""The pytest plugin: loaded by every pytest of the environment, so it imports nothing heavy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from nanoeval_core.eval import Eval

    from nanoeval_solvers.testing import ModelServer

RunEval = Callable[..., dict[str, Any]]


@pytest.fixture
def model_server(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModelServer]:
    """Yield a `nanoeval.solvers.testing.ModelServer`, started; it says "Answer: A" unless told."""
    monkeypatch.setenv("NANOEVAL_CACHE_DIR", str(tmp_path_factory.mktemp("nanoeval-cache")))
    from nanoeval_solvers.testing import ModelServer  # noqa: PLC0415  for tests that ask for it

    with ModelServer() as server:
        yield server


@pytest.fixture
def run_eval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunEval:
    """Return what runs an eval and gives its summary: `run_eval(my_eval, n_tasks=3)`.

    Keyword arguments are those of `RunnerArgs`; nothing is recorded or backed up unless they say
    so, and state and records go to the test's own folder. In an async test, call it with
    `asyncio.to_thread`.
    """
    monkeypatch.setenv("NANOEVAL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("NANOEVAL_LOG_DIR", str(tmp_path / "records"))
    monkeypatch.setenv("NANOEVAL_BACKUP_DIR", str(tmp_path / "backups"))

    def run(eval: Eval[Any, Any], **runner_args: Any) -> dict[str, Any]:
        from nanoeval_core.recorder import dummy_recorder  # noqa: PLC0415  as above
        from nanoeval_core.spec import EvalSpec, RunnerArgs  # noqa: PLC0415

        runner = pytest.importorskip(
            "nanoeval_runner",
            reason="the fixture run_eval needs a runner: pip install nanoeval-runner",
        )
        args: dict[str, Any] = {"recorder": dummy_recorder(), "should_backup": False} | runner_args
        spec = EvalSpec(eval=eval, runner=RunnerArgs(**args))
        summary: dict[str, Any] = asyncio.run(runner.run(spec))
        return summary

    return run
