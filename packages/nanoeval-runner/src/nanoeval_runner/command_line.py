"""A function's arguments from the command line, as chz reads them, with errors that help."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import chz
from chz.blueprint import (
    EntrypointHelpException,
    ExtraneousBlueprintArg,
    InvalidBlueprintArg,
    MissingBlueprintArg,
)
from nanoeval_core.errors import ConfigError

T = TypeVar("T")

DEBUG_VARIABLE = "NANOEVAL_DEBUG"
"""Set to anything, it makes errors come with their tracebacks; `--debug` sets it."""


def from_command_line(target: Callable[..., T], argv: Sequence[str] | None = None) -> T:
    """Call `target` with arguments such as `eval.solver.model=gpt-4o-mini` and `--debug`.

    Args:
        target: a function or chz class; its annotations say which arguments there are.
        argv: the arguments; by default those of this process.

    Raises:
        ConfigError: an argument that does not exist (with the nearest that does), that cannot be
            read, or whose value is refused; or one that is missing.
        SystemExit: with 0, after `--help` or `-h` was printed.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--debug" in arguments:
        os.environ[DEBUG_VARIABLE] = "1"
        arguments.remove("--debug")
    arguments = ["--help" if argument == "-h" else argument for argument in arguments]
    for argument in arguments:
        if argument != "--help" and not argument.partition("=")[1]:
            raise ConfigError(
                f"argument {argument!r}: write it as name=value; --help lists the names"
            )
    try:
        return chz.Blueprint(target).make_from_argv(arguments, allow_hyphens=True)
    except EntrypointHelpException as help_text:
        sys.stdout.write(str(help_text).rstrip() + "\n")
        sys.exit(0)
    except ExtraneousBlueprintArg as error:
        # Up to the empty line: the argument, and the one that was probably meant.
        found, _, _ = str(error).partition("\n\n")
        raise ConfigError(f"{found}\n--help lists all arguments") from error
    except (InvalidBlueprintArg, MissingBlueprintArg) as error:
        raise ConfigError(f"{error}\n--help lists all arguments") from error
