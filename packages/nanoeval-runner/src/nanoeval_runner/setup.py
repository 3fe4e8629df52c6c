"""A script's main: logging, file descriptors, readable errors, exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import resource
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from nanoeval_core.errors import BudgetExceeded, ConfigError, NanoevalError, RecorderError
from nanoeval_core.library_config import get_library_config

from nanoeval_runner._executors.threads import (
    held_by_no_thread,
    leave_threads_behind,
    properly_closed_thread_pool,
)
from nanoeval_runner._exit_stack import global_exit_stack
from nanoeval_runner._interrupts import run_to_its_end
from nanoeval_runner._run_set import may_exit
from nanoeval_runner.command_line import DEBUG_VARIABLE, from_command_line
from nanoeval_runner.formats import write_line
from nanoeval_runner.results import collecting

__all__ = [
    "EXIT_BAD_INPUT",
    "EXIT_BUDGET",
    "EXIT_FAILED",
    "describe",
    "exit_codes",
    "global_exit_stack",
    "leave_threads_behind",
    "leaves_of",
    "nanoeval_entrypoint",
    "nanoeval_logging",
    "properly_closed_thread_pool",
    "raise_file_limit",
    "run_main",
]

T = TypeVar("T")

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_BUDGET = 3
_CODES: dict[type[NanoevalError], int] = {
    ConfigError: EXIT_BAD_INPUT,
    RecorderError: EXIT_BAD_INPUT,  # none could be made, so nothing ran
    BudgetExceeded: EXIT_BUDGET,
}

KINDS_SHOWN = 3
_HINT = f"({DEBUG_VARIABLE}=1 shows the full traceback)"
_LIBRARIES = ("site-packages", "nanoeval_", "/nanoeval/bin/")
"""In the paths of code that a person who writes an eval did not write."""

_STDLIB = os.path.dirname(os.__file__) + os.sep + "asyncio"

ADVICE = {
    "can't be used in 'await' expression": "(get_tasks, evaluate and get_summary are `async def`: "
    "is an `async` missing?)",
    "object is not a mapping": "(get_summary must return a dict of metrics)",
}
"""What to do about exceptions whose own text does not say, by a sign in that text."""


class nanoeval_logging:  # noqa: N801  reads as a function, and is used as one
    """Set up logging as `LibraryConfig.setup_logging` has it: called plainly, or with `with`."""

    def __init__(self) -> None:
        get_library_config().setup_logging()
        # The run's log file gets what nanoeval does; the console shows what it did before.
        root, ours = logging.getLogger(), logging.getLogger("nanoeval")
        for handler in root.handlers:
            if handler.level == logging.NOTSET:
                handler.setLevel(root.level)
        if ours.level == logging.NOTSET:
            ours.setLevel(min(logging.INFO, root.level))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        logging.captureWarnings(False)


def nanoeval_entrypoint(
    entry: Coroutine[Any, Any, Any] | Callable[..., Coroutine[Any, Any, Any]],
) -> None:
    """Run a script's main coroutine and exit as a program should.

    Given the function rather than the coroutine, it calls it with arguments from the command line
    (see `nanoeval_runner.command_line`), and their mistakes are shown like all others.

    Raises the soft limit of open files to the hard one (thousands of connections need it), sets
    up logging, and turns errors into one message on stderr; `NANOEVAL_DEBUG=1` shows tracebacks.
    Exits with 0 (it returns then), 1 when an eval ended by an exception or measured nothing, 2 for
    bad input, 3 when a budget was reached, and 130 after Ctrl-C (143 after SIGTERM). A
    `SystemExit` of the script's own passes unchanged.
    """
    with held_by_no_thread(), exit_codes(), nanoeval_logging(), collecting() as found:
        raise_file_limit()
        run_main(from_command_line(entry) if callable(entry) else entry)
        if found.exit_code():
            sys.exit(EXIT_FAILED)


def run_main(
    main: Coroutine[Any, Any, T],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> T:
    """Run a program's main coroutine as `asyncio.run` does.

    While evals run, a SystemExit or KeyboardInterrupt of code that their tasks began ends neither:
    only a signal does, or the main coroutine.
    """
    return run_to_its_end(main, may_exit=may_exit, loop_factory=loop_factory)


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Turn exceptions of the block into a message on stderr and the exit codes above."""
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001  the program ends with it
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exception(error)
        if isinstance(error, KeyboardInterrupt):
            # The run that was interrupted has said so, and how to resume; others have not.
            code, message = 130, "" if error.args else "interrupted"
        else:
            code = next((c for kind, c in _CODES.items() if _is_all(error, kind)), EXIT_FAILED)
            message = describe(error)
        if message:
            write_line(sys.stderr, message.rstrip())
        sys.exit(code)


def describe(error: BaseException) -> str:
    """Return what a person needs of an error: its text, its notes, and how to see more."""
    if isinstance(error, BaseExceptionGroup):
        if _is_all(error, BudgetExceeded):
            return "\n".join(f"error: {leaf}" for leaf in leaves_of(error))
        if _is_all(error, ConfigError):  # found by the first task: a missing key, say
            refusals = list(dict.fromkeys(f"error: {leaf}" for leaf in leaves_of(error)))
            more = len(refusals) - KINDS_SHOWN
            shown = refusals[:KINDS_SHOWN] + [f"  and {more} more like it"] * (more > 0)
            return "\n".join([*shown, error.message])
        return f"error: {error.message}\n{_describe_leaves(error)}\n{_HINT}"
    if isinstance(error, NanoevalError):
        return f"error: {error}"
    return f"error: {_describe_leaves(error).strip()}\n{_HINT}"


def _is_all(error: BaseException, kind: type[NanoevalError]) -> bool:
    """Return whether `error` is of this kind, or a group of nothing but such errors."""
    return all(isinstance(leaf, kind) for leaf in leaves_of(error))


def _describe_leaves(error: BaseException) -> str:
    """Return each kind of exception once: hundreds of tasks in flight may all fail alike."""
    alike: dict[tuple[str, str], list[str]] = {}
    for leaf, notes in _noted_leaves(error):
        kind, where = type(leaf).__name__, _innermost(leaf, notes)
        said = [note.splitlines()[0] for note in notes if "traceback" not in note]
        advice = next((words for sign, words in ADVICE.items() if sign in str(leaf)), "")
        lines = [f"{kind}: {_text_of(leaf)}", *said, where, advice]
        text = "\n".join(f"  {line}" for line in lines if line)
        alike.setdefault((kind, where), []).append(text)
    texts = [
        same[0] + (f"\n  and {len(same) - 1} more like it" * (len(same) > 1))
        for same in alike.values()
    ]
    more = [f"  and {len(texts) - KINDS_SHOWN} more kinds"] if len(texts) > KINDS_SHOWN else []
    return "\n".join([*texts[:KINDS_SHOWN], *more])


def _text_of(error: BaseException) -> str:
    """Return an exception's text; pydantic's without its links and its echo of the input."""
    if type(error).__name__ != "ValidationError":
        return str(error)
    lines = [line for line in str(error).splitlines() if "errors.pydantic.dev" not in line]
    return "\n  ".join(line.partition(" [type=")[0] for line in lines)


def _innermost(error: BaseException, notes: list[str]) -> str:
    """Return where it was raised: in an executor process, a note says so."""
    remote = "".join(note for note in notes if "traceback" in note)
    places = re.findall(r'File "([^"]+)", line (\d+)', remote)
    places = places or [
        (frame.filename, str(frame.lineno)) for frame in traceback.extract_tb(error.__traceback__)
    ]
    places = [place for place in places if not place[0].startswith((_STDLIB, "<"))]
    own = [place for place in places if not any(part in place[0] for part in _LIBRARIES)]
    return "at " + ":".join((own or places)[-1]) if places else ""


def leaves_of(error: BaseException) -> list[BaseException]:
    """Return the exceptions in a group that are not groups themselves, in order."""
    return [leaf for leaf, _ in _noted_leaves(error)]


def _noted_leaves(
    error: BaseException, outer: Sequence[str] = ()
) -> Iterator[tuple[BaseException, list[str]]]:
    """Yield those exceptions with their notes, which are also those of the groups they are in."""
    notes = [*getattr(error, "__notes__", []), *outer]
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _noted_leaves(one, notes)
    else:
        yield error, notes


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one, where the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 1 << 20
    if soft < wanted:
        # macOS refuses values above kern.maxfilesperproc although the hard limit is infinite.
        for limit in (wanted, 10_240):
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                return
