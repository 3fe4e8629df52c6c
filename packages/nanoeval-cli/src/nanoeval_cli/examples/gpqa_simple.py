"""GPQA from the command line: `python -m nanoeval.examples.gpqa_simple gpqa.solver=…`."""

from __future__ import annotations

import sys

from nanoeval_core.json_values import json_text
from nanoeval_core.spec import EvalSpec, RunnerArgs
from nanoeval_runner import run

from nanoeval_cli.examples.gpqa import GPQAEval


async def main(gpqa: GPQAEval, runner: RunnerArgs) -> None:
    """Run GPQA with the solver and runner arguments given, and print the summary."""
    sys.stdout.write(json_text(await run(EvalSpec(eval=gpqa, runner=runner))) + "\n")


__all__ = ["main"]
