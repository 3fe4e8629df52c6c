"""GPQA without a model in 10 processes: `python -m nanoeval.examples.gpqa_mock_mp`."""

from __future__ import annotations

from nanoeval_core.spec import EvalSpec, RunnerArgs
from nanoeval_runner import run
from nanoeval_solvers.mcq import MockSolver

from nanoeval_cli.examples.gpqa import GPQAEval


async def main() -> None:
    report = await run(
        EvalSpec(
            eval=GPQAEval(solver=MockSolver(), n_consensus=16),
            runner=RunnerArgs(experimental_use_multiprocessing=True, num_processes=10),
        )
    )
    assert "accuracy" in report, report  # noqa: S101  what the example shows


__all__ = ["main"]
