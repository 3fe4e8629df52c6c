"""The primitives of nanoeval: all that is needed to *define* an eval.

Layers; what each imports when it is loaded is above it, or in its line:

    errors, words, usage, run_context, run_facts                 values
    asyncio_utils, json_values, redaction, pickling, by_name     small tools
    async_breakpoint, _webhook                                   more of them
    task, executors                        Task; what an engine for executors is
    dialogues, recorder_protocol, recording, recorder_adapter    where events go
    library_config, recorder, fs_paths     hooks, the current recorder, folders
    eval, spec                             Eval, RunnerArgs, EvalSpec
    metrics                                statistics

Nothing here imports another package of nanoeval, or anything that runs one. The names below load
what they need when first used (PEP 562): building a pydantic model alone costs more than importing
chz and pydantic, and a caller who only catches errors needs neither.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanoeval_core.asyncio_utils import HasAsyncContextManager as HasAsyncContextManager
    from nanoeval_core.errors import BudgetExceeded as BudgetExceeded
    from nanoeval_core.errors import ConfigError as ConfigError
    from nanoeval_core.errors import GraderError as GraderError
    from nanoeval_core.errors import NanoevalError as NanoevalError
    from nanoeval_core.errors import NotPicklableError as NotPicklableError
    from nanoeval_core.errors import RecorderError as RecorderError
    from nanoeval_core.errors import RolloutSystemError as RolloutSystemError
    from nanoeval_core.errors import RunInterrupted as RunInterrupted
    from nanoeval_core.errors import StateError as StateError
    from nanoeval_core.errors import SystemErrorsNotSupported as SystemErrorsNotSupported
    from nanoeval_core.errors import TaskError as TaskError
    from nanoeval_core.errors import TaskTimeoutError as TaskTimeoutError
    from nanoeval_core.eval import Eval as Eval
    from nanoeval_core.eval import assert_no_system_errors as assert_no_system_errors
    from nanoeval_core.library_config import LibraryConfig as LibraryConfig
    from nanoeval_core.library_config import get_library_config as get_library_config
    from nanoeval_core.library_config import set_library_config as set_library_config
    from nanoeval_core.recorder import dummy_recorder as dummy_recorder
    from nanoeval_core.recorder import get_recorder as get_recorder
    from nanoeval_core.recorder import set_default_recorder as set_default_recorder
    from nanoeval_core.recorder_protocol import RecorderConfig as RecorderConfig
    from nanoeval_core.recorder_protocol import RecorderProtocol as RecorderProtocol
    from nanoeval_core.recording import BaseRecorder as BaseRecorder
    from nanoeval_core.spec import EvalSpec as EvalSpec
    from nanoeval_core.spec import RunnerArgs as RunnerArgs
    from nanoeval_core.task import Task as Task
    from nanoeval_core.task import TResult as TResult
    from nanoeval_core.task import TTask as TTask
    from nanoeval_core.usage import Usage as Usage
    from nanoeval_core.usage import report_usage as report_usage

_HOME = {
    "BaseRecorder": "nanoeval_core.recording",
    "BudgetExceeded": "nanoeval_core.errors",
    "ConfigError": "nanoeval_core.errors",
    "Eval": "nanoeval_core.eval",
    "EvalSpec": "nanoeval_core.spec",
    "GraderError": "nanoeval_core.errors",
    "HasAsyncContextManager": "nanoeval_core.asyncio_utils",
    "LibraryConfig": "nanoeval_core.library_config",
    "NanoevalError": "nanoeval_core.errors",
    "NotPicklableError": "nanoeval_core.errors",
    "RecorderConfig": "nanoeval_core.recorder_protocol",
    "RecorderError": "nanoeval_core.errors",
    "RecorderProtocol": "nanoeval_core.recorder_protocol",
    "RolloutSystemError": "nanoeval_core.errors",
    "RunInterrupted": "nanoeval_core.errors",
    "RunnerArgs": "nanoeval_core.spec",
    "StateError": "nanoeval_core.errors",
    "SystemErrorsNotSupported": "nanoeval_core.errors",
    "TResult": "nanoeval_core.task",
    "TTask": "nanoeval_core.task",
    "Task": "nanoeval_core.task",
    "TaskError": "nanoeval_core.errors",
    "TaskTimeoutError": "nanoeval_core.errors",
    "Usage": "nanoeval_core.usage",
    "assert_no_system_errors": "nanoeval_core.eval",
    "dummy_recorder": "nanoeval_core.recorder",
    "get_library_config": "nanoeval_core.library_config",
    "get_recorder": "nanoeval_core.recorder",
    "report_usage": "nanoeval_core.usage",
    "set_default_recorder": "nanoeval_core.recorder",
    "set_library_config": "nanoeval_core.library_config",
}

__all__ = list(_HOME)

if not TYPE_CHECKING:  # hidden, so that type checkers report names that do not exist
    from importlib import import_module

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOME[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
