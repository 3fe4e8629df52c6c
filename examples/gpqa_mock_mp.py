"""The same as gpqa_mock, in a pool of processes."""

from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.setup import nanoeval_entrypoint
from nanoeval.solvers.mcq import MockSolver

from examples.gpqa_api import GPQAEval

if __name__ == "__main__":
    runner = RunnerArgs(experimental_use_multiprocessing=True, num_processes=2)
    nanoeval_entrypoint(run(EvalSpec(eval=GPQAEval(solver=MockSolver()), runner=runner)))
