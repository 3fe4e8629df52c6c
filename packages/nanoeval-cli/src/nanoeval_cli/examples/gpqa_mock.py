"""GPQA without a model: `python -m nanoeval.examples.gpqa_mock`."""

from __future__ import annotations

from nanoeval_core.spec import EvalSpec, RunnerArgs
from nanoeval_runner import run
from nanoeval_solvers.mcq import MockSolver

from nanoeval_cli.examples.gpqa import GPQAEval


async def main() -> None:
    report = await run(EvalSpec(eval=GPQAEval(solver=MockSolver()), runner=RunnerArgs()))
    assert "accuracy" in report, report  # noqa: S101  what the example shows


__all__ = ["main"]
