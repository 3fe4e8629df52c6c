"""GPQA from the command line.

python -m examples.gpqa_simple eval.solver.model=gpt-4o-mini runner.concurrency=20
python -m examples.gpqa_simple eval.solver=MockSolver runner.n_tasks=10
python -m examples.gpqa_simple eval.data=gpqa_diamond.csv eval.n_consensus=4
python -m examples.gpqa_simple --help
"""

from typing import Any

import chz
from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.setup import nanoeval_entrypoint
from nanoeval.solvers.mcq import MCQSolver
from nanoeval.solvers.mcq_api import OpenAIAPIMCQSolver

from examples.gpqa_api import GPQAEval


@chz.chz
class GPQA(GPQAEval):
    solver: MCQSolver[Any] = chz.field(
        meta_factory=chz.factories.subclass(MCQSolver, default_cls=OpenAIAPIMCQSolver),
        doc="Answers the questions: OpenAIAPIMCQSolver, MockSolver, or module:Class.",
    )


async def main(eval: GPQA, runner: RunnerArgs) -> None:
    print(await run(EvalSpec(eval=eval, runner=runner)))


if __name__ == "__main__":
    nanoeval_entrypoint(main)
