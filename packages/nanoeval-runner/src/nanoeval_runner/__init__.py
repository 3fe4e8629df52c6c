"""The queue and the executors of nanoeval: `run`, `validate`, `resume`.

    _run, _resume               the story, top to bottom
    _run_set, _eval_run         what runs share, and one eval in the driver
    _outbox                     where committed batches go
    _executors                  take tasks, run them, put results back
    _queue                      the sqlite file
    _display                    what a person sees meanwhile

Importing this package loads nothing else: commands that look at runs do not wait for what runs
them. Each name below is loaded when it is first used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanoeval_runner._resume import resume as resume
    from nanoeval_runner._resume import run_eval_in_database as run_eval_in_database
    from nanoeval_runner._run import run as run
    from nanoeval_runner._run import validate as validate

_HOME = {
    "resume": "nanoeval_runner._resume",
    "run": "nanoeval_runner._run",
    "run_eval_in_database": "nanoeval_runner._resume",
    "validate": "nanoeval_runner._run",
}

__all__ = ["resume", "run", "run_eval_in_database", "validate"]

if not TYPE_CHECKING:  # hidden, so that type checkers report names that do not exist
    from importlib import import_module

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOME[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
