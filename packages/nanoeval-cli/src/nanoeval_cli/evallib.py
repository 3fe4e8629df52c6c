"""evallib (the `evals` package), both ways: nanoevals in its registry, its samples as nanoevals.

python -m nanoeval.evallib eval.name=2d_movement
python -m nanoeval.evallib eval.name=2d_movement.dev.v0 eval.solver.model=gpt-4o runner.n_tasks=50
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from nanoeval_core.spec import EvalSpec, RunnerArgs
from nanoeval_solvers.samples_eval import APISampleSolver as APISampleSolver
from nanoeval_solvers.samples_eval import MockSampleSolver as MockSampleSolver
from nanoeval_solvers.samples_eval import SampleReply as SampleReply
from nanoeval_solvers.samples_eval import SamplesEval as SamplesEval
from nanoeval_solvers.samples_eval import SampleSolver as SampleSolver
from nanoeval_solvers.samples_eval import SampleTask as SampleTask

if TYPE_CHECKING:
    from nanoeval_recorder.evallib_eval import EvallibEval as EvallibEval
    from nanoeval_recorder.evallib_eval import EvallibSample as EvallibSample
    from nanoeval_recorder.evallib_eval import complete as complete
    from nanoeval_recorder.evallib_eval import current_sample as current_sample

_NEED_EVALS = frozenset({"EvallibEval", "EvallibSample", "complete", "current_sample"})

# Not those that need the evals package: `import *` would load it.
__all__ = [
    "APISampleSolver",
    "MockSampleSolver",
    "SampleReply",
    "SampleSolver",
    "SampleTask",
    "SamplesEval",
    "main",
]


async def main(eval: SamplesEval, runner: RunnerArgs) -> None:
    """Run samples of evallib's registry, and print the summary."""
    # Deferred: evals imports this module to find EvallibEval, and runs it itself.
    from nanoeval_core.json_values import json_text  # noqa: PLC0415
    from nanoeval_runner import run  # noqa: PLC0415

    sys.stdout.write(json_text(await run(EvalSpec(eval=eval, runner=runner))) + "\n")


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
