"""Simple, ergonomic and high performance evals for language models.

Layers, each importing only those below it:

    nanoeval                                              names and paths
    nanoeval_cli, nanoeval_computer                       commands; computer tasks
    nanoeval_runner, nanoeval_solvers, nanoeval_recorder  the three never import each other
    nanoeval_core                                         the primitives

Importing this package loads nothing else: each name below, and each submodule, is loaded when it
is first used (PEP 562). Names have their homes in the packages below; here are their paths.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanoeval_core import Eval as Eval
    from nanoeval_core import EvalSpec as EvalSpec
    from nanoeval_core import RolloutSystemError as RolloutSystemError
    from nanoeval_core import RunnerArgs as RunnerArgs
    from nanoeval_core import Task as Task
    from nanoeval_runner import resume as resume
    from nanoeval_runner import run as run
    from nanoeval_runner import validate as validate

    from nanoeval import asyncio_utils as asyncio_utils
    from nanoeval import errors as errors
    from nanoeval import eval as eval
    from nanoeval import evaluation as evaluation
    from nanoeval import json_recorder as json_recorder
    from nanoeval import library_config as library_config
    from nanoeval import metrics as metrics
    from nanoeval import recorder as recorder
    from nanoeval import recorder_protocol as recorder_protocol
    from nanoeval import recorders as recorders
    from nanoeval import setup as setup
    from nanoeval import solvers as solvers

_HOME = {
    "Eval": "nanoeval_core",
    "EvalSpec": "nanoeval_core",
    "RolloutSystemError": "nanoeval_core",
    "RunnerArgs": "nanoeval_core",
    "Task": "nanoeval_core",
    "resume": "nanoeval_runner",
    "run": "nanoeval_runner",
    "validate": "nanoeval_runner",
}

__all__ = [
    "Eval",
    "EvalSpec",
    "RolloutSystemError",
    "RunnerArgs",
    "Task",
    "resume",
    "run",
    "validate",
]

if not TYPE_CHECKING:  # hidden, so that type checkers report names that do not exist
    from importlib import import_module

    def __getattr__(name: str) -> object:
        if name == "__version__":
            # Deferred: reading metadata costs more than all of this module.
            from importlib.metadata import version  # noqa: PLC0415

            return version("nanoeval")
        if name not in _HOME:
            from nanoeval._lazy import submodules  # noqa: PLC0415  not for the names above

            return submodules(__name__)(name)
        value = globals()[name] = getattr(import_module(_HOME[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
