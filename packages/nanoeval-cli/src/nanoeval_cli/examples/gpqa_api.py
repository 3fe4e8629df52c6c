"""GPQA with the OpenAI API, in a pool of processes: `python -m nanoeval.examples.gpqa_api`."""

from __future__ import annotations

from nanoeval_core.spec import EvalSpec, RunnerArgs
from nanoeval_runner import run
from nanoeval_solvers.mcq_api import OpenAIAPIMCQSolver

from nanoeval_cli.examples.gpqa import GPQAEval


async def main() -> None:
    report = await run(
        EvalSpec(
            eval=GPQAEval(solver=OpenAIAPIMCQSolver(model="gpt-4o")),
            runner=RunnerArgs(experimental_use_multiprocessing=True),
        )
    )
    assert "accuracy" in report, report  # noqa: S101  what the example shows


__all__ = ["main"]
