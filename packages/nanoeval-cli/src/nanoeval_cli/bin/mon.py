"""`nanoeval monitor`: the command of the optional monitor package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nanoeval_core.by_name import load_entry_point
from nanoeval_core.errors import ConfigError
from nanoeval_runner.setup import exit_codes, nanoeval_logging

ENTRY_POINT_GROUP = "nanoeval.monitor_commands"


def main(argv: Sequence[str] | None = None) -> None:
    """Serve the monitor's page until interrupted; `argv` is by default this process's."""
    with exit_codes(), nanoeval_logging():
        find_command()(argv)


def find_command() -> Any:
    """Return the command of the installed monitor, which takes arguments as `main` does.

    Raises:
        ConfigError: no monitor is installed.
    """
    command = load_entry_point(ENTRY_POINT_GROUP, "monitor")
    if command is None:
        raise ConfigError(
            'the web monitor is not installed: `pip install "nanoeval[monitor]"`. '
            "Without it: nanoeval ls, nanoeval show RUN --slowest"
        )
    return command


__all__ = ["ENTRY_POINT_GROUP", "find_command", "main"]
