"""The same as gpqa_mock, in a pool of processes."""

from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.setup import nanoeval_entrypoint
from nanoeval.solvers.mcq import MockSolver

from examples.gpqa_api import GPQAEval


async def main() -> None:
    runner = RunnerArgs(concurrency=20, experimental_use_multiprocessing=True, num_processes=2)
    print(await run(EvalSpec(eval=GPQAEval(solver=MockSolver()), runner=runner)))


if __name__ == "__main__":
    nanoeval_entrypoint(main())
