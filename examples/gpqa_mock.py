"""GPQA's shape without a model: the mock solver answers at random, half of them right."""

from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.setup import nanoeval_entrypoint
from nanoeval.solvers.mcq import MockSolver

from examples.gpqa_api import GPQAEval

if __name__ == "__main__":
    runner = RunnerArgs(concurrency=20)
    nanoeval_entrypoint(run(EvalSpec(eval=GPQAEval(solver=MockSolver()), runner=runner)))
