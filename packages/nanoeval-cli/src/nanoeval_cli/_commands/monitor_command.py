"""`nanoeval monitor`."""

from __future__ import annotations

from importlib.util import find_spec

import click

from nanoeval_cli._command import Command, subcommand
from nanoeval_cli._output import write
from nanoeval_cli.bin.mon import find_command


class MonitorCommand(Command):
    """Its options are the monitor's own, where that is installed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ("--help" in args or "-h" in args) and find_spec("nanoeval_monitor") is not None:
            write("nanoeval monitor --port 8080\n")
            find_command()(["--help"])
        return super().parse_args(ctx, args)


@subcommand("monitor", cls=MonitorCommand)
def command(fields: dict[str, str]) -> int:
    """Open a web page for the runs that are going and those that are done.

    \b
      nanoeval monitor --port 8080

    It is a package of its own: `pip install "nanoeval[monitor]"`. With it installed, this help
    lists its arguments.
    """
    find_command()([f"{name}={value}" for name, value in fields.items()])
    return 0
