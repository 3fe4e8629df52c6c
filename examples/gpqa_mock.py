"""GPQA's shape without a model: the mock solver answers at random, half of them right."""

from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.setup import nanoeval_entrypoint
from nanoeval.solvers.mcq import MockSolver

from examples.gpqa_api import GPQAEval


async def main() -> None:
    spec = EvalSpec(eval=GPQAEval(solver=MockSolver()), runner=RunnerArgs(concurrency=20))
    print(await run(spec))


if __name__ == "__main__":
    nanoeval_entrypoint(main())
