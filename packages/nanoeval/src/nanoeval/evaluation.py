"""Running evals, and what they are made of."""

from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.eval import Eval
from nanoeval_core.spec import EvalSpec, RunnerArgs
from nanoeval_core.task import Task
from nanoeval_runner import run, run_eval_in_database, validate

__all__ = [
    "Eval",
    "EvalSpec",
    "RolloutSystemError",
    "RunnerArgs",
    "Task",
    "run",
    "run_eval_in_database",
    "validate",
]
