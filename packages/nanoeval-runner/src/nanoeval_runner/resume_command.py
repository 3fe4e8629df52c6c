"""The one command that goes on with a run, as it works from where the person is."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextvars import ContextVar

__all__ = [
    "nanoeval_command",
    "resume_command",
    "using_resume_command",
]

_replacement: ContextVar[str | None] = ContextVar("nanoeval_resume_command", default=None)
_find_spec = functools.cache(importlib.util.find_spec)


def resume_command(run_set_id: str) -> str:
    """Return the command that finishes a run set; empty where a caller says how to go on itself."""
    replacement = _replacement.get()
    if replacement is not None:
        return replacement
    if _find_spec("nanoeval_cli") is None:  # the runner alone has no commands
        return f'await nanoeval_runner.resume("{run_set_id}")'
    return f"{nanoeval_command()} resume {run_set_id}"


@functools.cache  # each run says how it is resumed
def nanoeval_command() -> str:
    """Return `nanoeval`, or how to start it where a shell does not find that."""
    found = shutil.which("nanoeval")
    own = os.path.join(os.path.dirname(sys.executable), "nanoeval")
    if found is not None and os.path.realpath(found) == os.path.realpath(own):
        return "nanoeval"
    return f"{shlex.quote(sys.executable)} -m nanoeval"


@contextlib.contextmanager
def using_resume_command(command: str) -> Iterator[None]:
    """Make `command` what runs in the block say of how to resume them.

    For a script or a series that goes on when it is called again: one command then, not one a run.
    """
    token = _replacement.set(command)
    try:
        yield
    finally:
        _replacement.reset(token)
