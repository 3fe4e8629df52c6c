"""`nanoeval monitor`: the command of the optional monitor package."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nanoeval_core.errors import ConfigError
from nanoeval_runner.setup import exit_codes, nanoeval_logging

ENTRY_POINT_GROUP = "nanoeval.monitor_commands"

Command = Callable[[Sequence[str] | None], None]


def main(argv: Sequence[str] | None = None) -> None:
    """Serve the monitor's page until interrupted; `argv` is by default this process's."""
    with exit_codes(), nanoeval_logging():
        find_command("monitor")(argv)


def find_command(name: str) -> Command:
    """Return the command that the installed monitor has under `name`.

    Raises:
        ConfigError: no monitor is installed.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415  slow: reads every package

    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        command: Command = point.load()
        return command
    raise ConfigError(
        f"nanoeval {name} needs nanoeval-monitor, which is not installed: "
        '`pip install "nanoeval[monitor]"`'
    )


__all__ = ["ENTRY_POINT_GROUP", "find_command", "main"]
