"""What an eval is made of."""

from nanoeval_core.errors import RolloutSystemError, SystemErrorsNotSupported
from nanoeval_core.eval import Eval, assert_no_system_errors
from nanoeval_core.spec import EvalSpec, RunnerArgs
from nanoeval_core.task import Task, TResult, TTask

__all__ = [
    "Eval",
    "EvalSpec",
    "RolloutSystemError",
    "RunnerArgs",
    "SystemErrorsNotSupported",
    "TResult",
    "TTask",
    "Task",
    "assert_no_system_errors",
]
