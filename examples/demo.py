"""nanoeval in a minute: a real language model answers science questions, and is scored.

python -m examples.demo                     a small model, on this machine
python -m examples.demo model=gpt-4o-mini   one at $OPENAI_BASE_URL, with $OPENAI_API_KEY
python -m examples.demo --help
"""

import contextlib
import os
import sys
from collections.abc import Iterator

import chz
from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.errors import ConfigError
from nanoeval.setup import nanoeval_entrypoint
from nanoeval.solvers.mcq import MCQSolver, MockSolver
from nanoeval.solvers.mcq_api import OpenAIAPIMCQSolver

from examples import local_model
from examples.gpqa_api import SAMPLE, GPQAEval

MOCK = "mock solver (no model)"


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

    @contextlib.contextmanager
    def solver(self) -> Iterator[tuple[MCQSolver, str, int]]:
        """The solver, what to call its model, and how many questions to ask side by side."""
        if self.model is not None:
            if not (os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL")):
                raise ConfigError(
                    f"model={self.model!r} is asked over an API: set OPENAI_API_KEY, and "
                    "OPENAI_BASE_URL if it is not OpenAI's; or leave model out for the local one"
                )
            print(f"Asking {self.model} at {os.environ.get('OPENAI_BASE_URL', 'api.openai.com')}.")
            yield OpenAIAPIMCQSolver(model=self.model), self.model, 32
            return
        try:
            if not self.mock:
                local_model.install()
        except local_model.LocalModelMissing as error:
            print(f"The local model is missing: {error}")
            mock = True
        else:
            mock = self.mock
        if mock:
            print(f"NO MODEL IS MEASURED: the {MOCK} draws its answers at random.")
            yield MockSolver(), MOCK, 32
            return
        with local_model.serve(self.port) as base_url:
            name = local_model.MODEL
            print(f"{name} (135 million parameters) answers at {base_url}.")
            # Its own variable for the key: one meant for another endpoint stays here.
            solver = OpenAIAPIMCQSolver(
                model=name,
                base_url=base_url,
                api_key_env="LOCAL_MODEL_API_KEY",
                temperature=0.0,
                max_tokens=64,
            )
            yield solver, name, local_model.SLOTS

    async def ask(self, solver: MCQSolver, model_name: str, concurrency: int) -> None:
        runner = RunnerArgs(concurrency=concurrency, n_tasks=self.n_tasks, model_name=model_name)
        summary = await run(EvalSpec(eval=GPQAEval(solver=solver, data=self.data), runner=runner))
        print(show(summary, model_name))


def show(summary: dict[str, object], model_name: str) -> str:
    """What was measured, in words."""
    return f"{model_name} {summary}"


def main(demo: Demo) -> None:
    with demo.solver() as (solver, model_name, concurrency):
        nanoeval_entrypoint(demo.ask(solver, model_name, concurrency))


if __name__ == "__main__":
    try:
        chz.nested_entrypoint(main)
    except KeyboardInterrupt:
        sys.exit(130)
