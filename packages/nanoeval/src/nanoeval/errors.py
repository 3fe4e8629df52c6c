"""Every error nanoeval raises on purpose; all derive from `NanoevalError`."""

from nanoeval_core.errors import (
    BudgetExceeded,
    ConfigError,
    NanoevalError,
    NotPicklableError,
    RecorderError,
    RolloutSystemError,
    RunInterrupted,
    StateError,
    SystemErrorsNotSupported,
    TaskError,
    TaskTimeoutError,
)

__all__ = [
    "BudgetExceeded",
    "ConfigError",
    "NanoevalError",
    "NotPicklableError",
    "RecorderError",
    "RolloutSystemError",
    "RunInterrupted",
    "StateError",
    "SystemErrorsNotSupported",
    "TaskError",
    "TaskTimeoutError",
]
