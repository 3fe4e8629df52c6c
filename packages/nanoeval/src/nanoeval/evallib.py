"""evallib (the `evals` package), both ways: nanoevals in its registry, its samples as nanoevals.

python -m nanoeval.evallib eval.name=2d_movement
python -m nanoeval.evallib eval.name=2d_movement.dev.v0 eval.solver.model=gpt-4o runner.n_tasks=50
"""

from typing import TYPE_CHECKING, Any

from nanoeval_solvers.samples_eval import APISampleSolver as APISampleSolver
from nanoeval_solvers.samples_eval import MockSampleSolver as MockSampleSolver
from nanoeval_solvers.samples_eval import SampleReply as SampleReply
from nanoeval_solvers.samples_eval import SamplesEval as SamplesEval
from nanoeval_solvers.samples_eval import SampleSolver as SampleSolver
from nanoeval_solvers.samples_eval import SampleTask as SampleTask

if TYPE_CHECKING:
    from nanoeval_core.spec import RunnerArgs
    from nanoeval_recorder.evallib_eval import EvallibEval as EvallibEval
    from nanoeval_recorder.evallib_eval import EvallibSample as EvallibSample
    from nanoeval_recorder.evallib_eval import complete as complete
    from nanoeval_recorder.evallib_eval import current_sample as current_sample

__all__ = [
    "APISampleSolver",
    "EvallibEval",
    "EvallibSample",
    "MockSampleSolver",
    "SampleReply",
    "SampleSolver",
    "SampleTask",
    "SamplesEval",
    "complete",
    "current_sample",
]

_NEED_EVALS = frozenset({"EvallibEval", "EvallibSample", "complete", "current_sample"})

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _NEED_EVALS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            from nanoeval_recorder import evallib_eval  # noqa: PLC0415  imports evals
        except ModuleNotFoundError as error:
            if error.name != "evals":
                raise
            raise ImportError(
                f"nanoeval.evallib.{name} needs the evals package: "
                "`pip install --no-deps evals==3.0.1.post1`, and what docs/records.md lists"
            ) from error
        return getattr(evallib_eval, name)


async def _main(eval: SamplesEval, runner: "RunnerArgs") -> None:
    from nanoeval_runner import run  # noqa: PLC0415  for the command only

    from nanoeval.eval import EvalSpec  # noqa: PLC0415

    print(await run(EvalSpec(eval=eval, runner=runner)))  # noqa: T201  a command's output


if __name__ == "__main__":
    from nanoeval_core.spec import RunnerArgs

    from nanoeval.setup import nanoeval_entrypoint

    nanoeval_entrypoint(_main)
