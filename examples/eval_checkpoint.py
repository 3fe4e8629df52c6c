"""Eval a checkpoint: a model file, served on loopback while it is asked.

python -m examples.eval_checkpoint checkpoint=step_1000.gguf
python -m examples.eval_checkpoint checkpoint=step_1000.gguf how.base_url=http://127.0.0.1:8000/v1
python -m examples.eval_checkpoint checkpoint=step_1000.gguf how.mock=True

The run set is named for the checkpoint, so the same command again goes on where it stopped.
"""

import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import chz
from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.errors import ConfigError
from nanoeval.setup import nanoeval_entrypoint
from nanoeval.solvers.mcq import MCQSolver, MockSolver
from nanoeval.solvers.mcq_api import OpenAIAPIMCQSolver

from examples.gpqa_api import SAMPLE, GPQAEval


@chz.chz
class Checkpoints:
    """How checkpoints are asked."""

    base_url: str = chz.field(
        default="http://127.0.0.1:8000/v1",
        doc="An OpenAI-compatible server that has the checkpoint under its file's name.",
    )
    mock: bool = chz.field(default=False, doc="Ask nobody: to see how this works.")
    data: str = chz.field(default=SAMPLE, doc="A CSV with GPQA's columns: a path or a URL.")
    concurrency: int = chz.field(default=32, doc="Questions asked side by side.")

    @contextlib.asynccontextmanager
    async def served(self, checkpoint: Path) -> AsyncIterator[MCQSolver[Any]]:
        """A solver that asks `checkpoint`; start and stop your own server here."""
        if self.mock:  # better with each step, as one would wish
            steps = int("".join(re.findall(r"\d+", checkpoint.stem)) or 0)
            yield MockSolver(accuracy=1 - 0.75 * 2 ** (-steps / 1000), seed=steps)
        else:
            yield OpenAIAPIMCQSolver(
                model=checkpoint.stem, base_url=self.base_url, temperature=0.0, max_tokens=512
            )

    async def evaluate(self, checkpoint: Path) -> dict[str, Any]:
        """The summary of one checkpoint."""
        runner = RunnerArgs(
            concurrency=self.concurrency,
            model_name=checkpoint.stem,
            run_set_id="checkpoint-" + re.sub(r"[^A-Za-z0-9_.-]", "-", checkpoint.stem),
        )
        async with self.served(checkpoint) as solver:
            return await run(EvalSpec(eval=GPQAEval(solver=solver, data=self.data), runner=runner))


def existing(path: str) -> Path:
    if not Path(path).exists():
        raise ConfigError(f"{path!r}: there is no such file or folder")
    return Path(path)


async def main(checkpoint: str, how: Checkpoints) -> None:
    path = existing(checkpoint)
    summary = await how.evaluate(path)
    print(f"{path.stem}: {summary['accuracy']:.3f} ± {summary.get('accuracy_stderr', 0):.3f}")


if __name__ == "__main__":
    nanoeval_entrypoint(main)
