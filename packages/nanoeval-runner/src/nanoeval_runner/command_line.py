"""A function's arguments from the command line, as chz reads them, with errors that help."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

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

_HELP = "(--help lists all arguments)"


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
        if argument != "--help" and argument.find("=") < 1:
            raise ConfigError(
                f"argument {argument!r}: write it as name=value, without spaces\n{_HELP}"
            )
    blueprint = chz.Blueprint(target)
    try:
        return blueprint.make_from_argv(arguments, allow_hyphens=True)
    except EntrypointHelpException as help_text:
        sys.stdout.write(readable_help(str(help_text)) + "\n")
        sys.exit(0)
    except (ExtraneousBlueprintArg, InvalidBlueprintArg, MissingBlueprintArg) as error:
        _refuse(error, blueprint, arguments)


def readable_help(help_text: str) -> str:
    """chz's table of arguments as one entry an argument, no wider than the terminal."""
    head, found, table = help_text.partition("Arguments:\n")
    head = re.sub(r"(?m)^ {6}", "  ", head)  # a docstring's further lines, as its first
    width = min(shutil.get_terminal_size().columns, 100)
    rows = [re.split(r"\s{2,}", line.strip()) for line in table.splitlines() if line.strip()]
    groups = {name.rpartition(".")[0] for name, *_ in rows}
    entries = [entry for row in rows for entry in _entry(row, width, is_group=row[0] in groups)]
    usage = "Usage: name=value …, each name one of the following. --debug shows tracebacks.\n\n"
    return "\n".join([head.rstrip() + "\n", usage.rstrip() + "\n", *entries]) if found else head


def _entry(row: Sequence[str], width: int, *, is_group: bool) -> Iterator[str]:
    name, kind, default, doc = [*row, "", "", ""][:4]
    value, _, origin = default.partition(" (")
    says = {"default)": f", default {value}", "from command line)": f", given as {value}"}
    required = ", required" if value == "-" and not is_group else ""
    yield f"  {name}  {_short(kind)}{_short(says.get(origin, required))}"
    if doc:
        yield from textwrap.wrap(
            doc, width, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False
        )


def _short(type_name: str) -> str:
    """A type as people write it: without the module that holds it."""
    return re.sub(r"(?<![\w-])(?:[\w-]+\.)*[\w-]+[:.](?=[A-Z])", "", type_name)


def _refuse(error: Exception, blueprint: chz.Blueprint[Any], arguments: Sequence[str]) -> NoReturn:
    text = str(error)
    if isinstance(error, ExtraneousBlueprintArg):
        # The argument and the one that was probably meant; where it was looked for is left out.
        first, *others = text.partition("\n\n")[0].splitlines()
        guesses = "".join(f"\n{line}" for line in others if "--help" not in line)
        name = first.partition("'")[2].partition("'")[0]
        guesses = guesses or _same_elsewhere(name, blueprint)
        raise ConfigError(f"there is no argument {name!r}{guesses}\n{_HELP}") from error
    if "Failed to parse ''" in text:
        empty = next((one for one in arguments if one.endswith("=")), "")
        text = f"argument {empty!r}: there is nothing behind the ="
    elif isinstance(error, InvalidBlueprintArg):
        text = _about_value(text) + _nearest_class(text)
    elif isinstance(error, MissingBlueprintArg):
        missing = text.rpartition(": ")[2].strip()
        text = f"missing: {missing}. Give {missing.partition(',')[0]}=…"
    raise ConfigError(f"{text}\n{_HELP}") from error


def _same_elsewhere(name: str, blueprint: chz.Blueprint[Any]) -> str:
    """Arguments that are called like `name` but stand elsewhere, or are written otherwise."""
    table = blueprint.get_help().partition("Arguments:\n")[2]
    known = [line.split()[0] for line in table.splitlines() if line.strip()]
    wanted = name.rpartition(".")[2].lower()
    found = [one for one in known if one.rpartition(".")[2].lower() == wanted]
    return f"\nDid you mean {' or '.join(map(repr, found[:3]))}?" if found else ""


_TAKES = {"int": "a whole number", "float": "a number", "bool": "True or False", "str": "a text"}


def _about_value(text: str) -> str:
    """chz's account of a value it could not read, in a line that names it."""
    head = re.search(r"argument ('.*?'|\".*?\") provided for param '([^']+)'", text)
    if head is None:
        return text.rstrip()
    value, name = head.groups()
    *_, last = text.rstrip().split("\n- Failed to interpret it as a factory")
    reason = last.partition(":\n")[2].strip().splitlines()
    if reason and not reason[0].startswith(("Could not", "No subclass", "Expected", "Cannot")):
        return "\n".join(reason)  # our own words
    cast = re.search(r"Could not cast .* to (.+)", text)
    kinds = [_TAKES.get(kind, _short(kind)) for kind in cast[1].split(" | ")] if cast else []
    return f"{name}={value}: give {' or '.join(kinds)}" if kinds else text.rstrip()


def _nearest_class(text: str) -> str:
    """Which class was probably meant, where chz says that there is none of that name."""
    found = re.search(r"No subclass of (?:([^\s:]+):)?(\w+) named '([^']*)'", text)
    if found is None:
        return ""
    module, base, name = found.groups()
    base_class = getattr(sys.modules.get(module or "__main__"), base, None)
    if base_class is None:
        return ""
    known: set[str] = {one.__name__ for one in subclasses(base_class)}
    lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    if near:
        return f"\nDid you mean {lower[near[0]]!r}?"
    if not known:
        return ""
    return f"\nThere are {', '.join(sorted(known))}; or name one as module:Class"


def subclasses(base: type[object]) -> Iterator[type[object]]:
    """The classes below `base` that are loaded, at any depth."""
    for one in base.__subclasses__():
        yield one
        yield from subclasses(one)
