"""nanoeval in a minute: a real language model answers science questions, and is scored.

python -m examples.demo                     a small model, on this machine
python -m examples.demo model=gpt-4o-mini   one at $OPENAI_BASE_URL, with $OPENAI_API_KEY
python -m examples.demo --help
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import chz
from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.errors import ConfigError
from nanoeval.setup import nanoeval_entrypoint
from nanoeval.solvers.mcq import MCQSolver, MockSolver
from nanoeval.solvers.mcq_api import OpenAIAPIMCQSolver

from examples import local_model
from examples.gpqa_api import SAMPLE, GPQAEval

MOCK = "mock solver (no model)"
GREEDY: dict[str, Any] = {"temperature": 0.0, "max_tokens": 64}
PYTHON = os.path.relpath(sys.executable)
NANOEVAL = os.path.join(os.path.dirname(PYTHON), "nanoeval")


@chz.chz
class Demo:
    model: str | None = chz.field(
        default=None,
        doc="A model at $OPENAI_BASE_URL, with $OPENAI_API_KEY; by default a small local one.",
    )
    data: str = chz.field(default=SAMPLE, doc="A CSV with GPQA's columns: a path or a URL.")
    n_tasks: int | None = chz.field(default=None, doc="Ask only the first N questions.")
    port: int = chz.field(default=0, doc="The local server's port; 0 takes one that is free.")
    mock: bool = chz.field(default=False, doc="Ask nobody: answers are drawn at random.")
    resume: str | None = chz.field(default=None, doc="Go on with the run set of this id.")

    @contextlib.contextmanager
    def solver(self) -> Iterator[tuple[MCQSolver[Any], str]]:
        """The solver, and what to call its model; with the local one, its server runs."""
        if self.model is not None:
            yield self._remote(self.model), self.model
        elif self.mock or not _has_local_model():
            print(f"NO MODEL IS MEASURED: the {MOCK} draws its answers at random.")
            yield MockSolver(), MOCK
        else:
            with local_model.serve(self.port) as base_url:
                name = local_model.MODEL
                print(f"{name} (135 million parameters) answers at {base_url}.")
                # In the environment, not in the solver: a resumed run has another port, and is
                # the same eval. The key has a name of its own: one for elsewhere stays here.
                os.environ["OPENAI_BASE_URL"] = base_url
                keyless = "LOCAL_MODEL_API_KEY"
                yield OpenAIAPIMCQSolver(model=name, api_key_env=keyless, **GREEDY), name

    def _remote(self, model: str) -> MCQSolver[Any]:
        where = os.environ.get("OPENAI_BASE_URL") or "OpenAI's API"
        if not (os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL")):
            raise ConfigError(
                f"model={model!r} is asked over an API: set OPENAI_API_KEY, and OPENAI_BASE_URL "
                "if it is not OpenAI's; or leave model out for the local one"
            )
        print(f"Asking {model} at {where}.")
        return OpenAIAPIMCQSolver(model=model)

    async def ask(self, solver: MCQSolver[Any], model_name: str) -> None:
        eval = GPQAEval(solver=solver, data=self.data)
        run_set_id = self.resume or time.strftime("demo-%Y%m%d-%H%M%S")
        runner = RunnerArgs(
            concurrency=local_model.SLOTS if model_name == local_model.MODEL else 32,
            n_tasks=self.n_tasks,
            model_name=model_name,
            run_set_id=run_set_id,
        )
        try:
            summary = await run(EvalSpec(eval=eval, runner=runner))
        except asyncio.CancelledError:  # Ctrl-C: `nanoeval resume` would find no local server
            print(f"To go on with the demo: {PYTHON} -m examples.demo resume={run_set_id}")
            raise
        print(report(summary))


def _has_local_model() -> bool:
    try:
        local_model.install()
    except local_model.LocalModelMissing as error:
        print(f"The local model is missing: {error}")
        return False
    return True


def report(summary: dict[str, Any]) -> str:
    """What to know about the score that is shown above, and what to do next."""
    run_id, run_set_id = summary["run_id"], summary["run_set_id"]
    return f"""
Guessing gives 25 %; a reply that names no choice counts as wrong.

Look at wrong replies:   {NANOEVAL} samples {run_id} --wrong
See the whole summary:   {NANOEVAL} show {run_id}
Resume one that stopped: {PYTHON} -m examples.demo resume={run_set_id}
Ask another model:       OPENAI_API_KEY=… {PYTHON} -m examples.demo model=gpt-4o-mini"""


def main(demo: Demo) -> None:
    with demo.solver() as (solver, model_name):
        nanoeval_entrypoint(demo.ask(solver, model_name))


if __name__ == "__main__":
    try:
        chz.nested_entrypoint(main)
    except KeyboardInterrupt:
        sys.exit(130)
