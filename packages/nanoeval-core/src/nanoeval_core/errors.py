"""Every error nanoeval raises on purpose.

    NanoevalError
    ├── ConfigError                        bad input, found before anything runs
    │   │                                  (also ValueError and AssertionError)
    │   ├── TaskError                      a task of `get_tasks` cannot be queued
    │   └── NotPicklableError              something cannot travel to an executor or a file
    ├── RolloutSystemError                 the system failed, not the model: the task is retried
    │   ├── TaskTimeoutError               an attempt outlived `RunnerArgs.task_timeout`
    │   ├── RequestRejectedError           an endpoint rejects this request: not retried
    │   └── GraderError                    the grader failed, so the attempt has no score
    ├── SystemErrorsNotSupported           a metric was given results that hold system errors
    │                                      (also ValueError)
    ├── RecorderError                      a recorder's name is unknown, or a recorder failed
    │   └── NoCurrentRecorderError         (also LookupError) no recorder is current
    ├── StateError                         a state file that cannot be used as it is
    └── BudgetExceeded                     a run reached its token or cost budget and stopped
    RunInterrupted (a KeyboardInterrupt)   a run was stopped by a signal and can be resumed

All of them survive pickling: they cross process boundaries.
"""

from __future__ import annotations

from typing import ClassVar, final

from chz.blueprint import ConstructionException


class NanoevalError(Exception):
    """Base class of every error that nanoeval raises on purpose."""


class ConfigError(NanoevalError, ConstructionException, ValueError, AssertionError):
    """Bad input, found before anything ran."""

    # Code written for nanoeval catches some of these as ValueError and some as AssertionError.
    # A ConstructionException, so that `chz.entrypoint` shows the message of a value refused on
    # the command line, as it does for a mistyped name, and not the stack that led there.


class TaskError(ConfigError):
    """A task returned by `Eval.get_tasks` cannot be queued."""


class NotPicklableError(ConfigError):
    """A value cannot be pickled, so it cannot reach an executor or the state file."""


class RolloutSystemError(NanoevalError):
    """The system failed, not the model.

    Raise it from `Eval.evaluate` when an attempt says nothing about the model (an API outage, a
    crashed sandbox). The task is retried up to `RunnerArgs.max_retries` times; if every attempt
    fails, the last error is the task's result and is kept out of the score.

    Attributes:
        retryable: whether another attempt may fare better. A subclass sets it to False when not:
            then the error is the task's result at once.
    """

    retryable: ClassVar[bool] = True


RetryableSystemError = RolloutSystemError
"""Its name of 2025."""


@final
class TaskTimeoutError(RolloutSystemError):
    """An attempt ran longer than `RunnerArgs.task_timeout` seconds."""


class RequestRejectedError(RolloutSystemError):
    """An endpoint rejects this request each time, and serves others: the task is not retried."""

    retryable = False


class GraderError(RolloutSystemError):
    """The grader (a model, a sandbox, a verifier) failed, so the attempt could not be scored."""


class SystemErrorsNotSupported(NanoevalError, ValueError):
    """A metric was given results that hold system errors, and it cannot handle them."""


class RecorderError(NanoevalError):
    """A recorder's name is unknown, or a recorder failed."""


class NoCurrentRecorderError(RecorderError, LookupError):
    """No recorder is current, or no run is being set up."""


class StateError(NanoevalError):
    """A state file cannot be used: another version, corrupt, in use, or changed since."""


class BudgetExceeded(NanoevalError):
    """A run reached `budget_tokens` or `budget_cost`; what finished is kept and it can resume."""


class RunInterrupted(KeyboardInterrupt):
    """A run was stopped by a signal; the message says how to resume it.

    `exit_code` is what a script should exit with: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, message: str = "interrupted", exit_code: int = 130) -> None:
        super().__init__(message, exit_code)
        self.message = message
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.message


__all__ = [
    "BudgetExceeded",
    "ConfigError",
    "GraderError",
    "NanoevalError",
    "NotPicklableError",
    "RecorderError",
    "RequestRejectedError",
    "RetryableSystemError",
    "RolloutSystemError",
    "RunInterrupted",
    "StateError",
    "SystemErrorsNotSupported",
    "TaskError",
    "TaskTimeoutError",
]
