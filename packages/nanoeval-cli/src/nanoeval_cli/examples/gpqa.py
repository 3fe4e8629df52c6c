"""GPQA diamond, with the choices shuffled by seed, and four ways to run it.

`python -m nanoeval.examples.gpqa_simple gpqa.solver=…` takes any solver and arguments of the
runner; `gpqa_api` asks an API, in a pool of processes; `gpqa_mock` and `gpqa_mock_mp` need no
model.
"""

from __future__ import annotations

import asyncio
import csv
import io
import os
import random
import sys
import urllib.request
from pathlib import Path

import chz
from nanoeval_core.errors import ConfigError
from nanoeval_core.json_values import json_text
from nanoeval_core.spec import EvalSpec, RunnerArgs
from nanoeval_runner import run
from nanoeval_solvers.mcq import MCQEval, MockSolver, Question
from nanoeval_solvers.mcq_api import OpenAIAPIMCQSolver

ENV_CSV = "NANOEVAL_GPQA_CSV"
"""Names another CSV with the same columns: a path or a URL."""

URL = "https://openaipublic.blob.core.windows.net/simple-evals/gpqa_diamond.csv"


@chz.chz
class GPQAEval(MCQEval):
    """The questions of GPQA diamond. The order of choices is ours: scores are not canonical."""

    data: str = chz.field(
        default_factory=lambda: os.environ.get(ENV_CSV, URL),
        doc="A CSV with GPQA's columns: a path or a URL.",
    )

    def get_name(self) -> str:
        return "GPQA_diamond_not_canonical"

    async def _get_tasks(self) -> list[Question]:
        text = await asyncio.to_thread(_read, self.data)
        try:
            return [_question(row) for row in csv.DictReader(io.StringIO(text), strict=True)]
        except (KeyError, csv.Error) as error:
            raise ConfigError(
                f"data={self.data!r} is no CSV with GPQA's columns: {type(error).__name__}: {error}"
            ) from error


def _read(data: str) -> str:
    try:
        if not data.startswith(("http://", "https://")):
            return Path(data).read_text("utf-8-sig")
        with urllib.request.urlopen(data, timeout=60) as response:
            return str(response.read(), "utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"data={data!r} cannot be read: {error}. Name a local copy with data=… or {ENV_CSV}"
        ) from error


def _question(row: dict[str, str]) -> Question:
    choices = [row["Correct Answer"], *(row[f"Incorrect Answer {i}"] for i in (1, 2, 3))]
    order = list(range(4))
    random.Random(row["Question"]).shuffle(order)
    return Question(
        question=row["Question"],
        answers=[choices[index].strip() for index in order],
        correct_indices={order.index(0)},
    )


async def simple(gpqa: GPQAEval, runner: RunnerArgs) -> None:
    """Run GPQA with the solver and runner arguments given, and print the summary."""
    sys.stdout.write(json_text(await run(EvalSpec(eval=gpqa, runner=runner))) + "\n")


async def api() -> None:
    solver = OpenAIAPIMCQSolver(model="gpt-4o")
    await _run(GPQAEval(solver=solver), RunnerArgs(experimental_use_multiprocessing=True))


async def mock() -> None:
    await _run(GPQAEval(solver=MockSolver()), RunnerArgs())


async def mock_mp() -> None:
    runner = RunnerArgs(experimental_use_multiprocessing=True, num_processes=10)
    await _run(GPQAEval(solver=MockSolver(), n_consensus=16), runner)


async def _run(gpqa: GPQAEval, runner: RunnerArgs) -> None:
    report = await run(EvalSpec(eval=gpqa, runner=runner))
    assert "accuracy" in report, report  # noqa: S101  what the examples show


__all__ = ["ENV_CSV", "GPQAEval", "api", "mock", "mock_mp", "simple"]
