"""What a subcommand is: its arguments, and what it does with them."""

from __future__ import annotations

import argparse
import difflib
import shutil
from typing import Any, NoReturn

from nanoeval_core.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """argparse, with errors as `ConfigError` that name the nearest option there is."""

    def __init__(self, command: str, doc: str, **kwargs: Any) -> None:
        width = min(shutil.get_terminal_size().columns, 100)
        super().__init__(
            prog=f"nanoeval {command}",
            description=doc,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
                prog, width=width, max_help_position=28
            ),
            **kwargs,
        )
        self.add_argument("--debug", action="store_true", help="show tracebacks of errors")

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ").strip().partition(" ")[0]
        if unknown.startswith("-"):
            near = difflib.get_close_matches(unknown.partition("=")[0], self.options(), n=1)
            message = f"there is no option {unknown}"
            message += f": did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{message}\n({self.prog} --help lists what there is)")

    def options(self) -> list[str]:
        return [text for action in self._actions for text in action.option_strings]

    def add_json(self) -> None:
        self.add_argument("--json", action="store_true", help="print JSON")


def positive(text: str) -> int:
    """An argparse type: a whole number from 1 on."""
    try:
        value = int(text.replace("_", ""))
    except ValueError:
        value = 0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return value
