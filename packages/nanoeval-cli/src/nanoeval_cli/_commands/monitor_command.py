"""`nanoeval monitor`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from nanoeval_core.errors import ConfigError
from nanoeval_runner.command_line import from_command_line

from nanoeval_cli._output import write


def main(arguments: Sequence[str]) -> int:
    if find_spec("nanoeval_monitor") is None:
        if "--help" in arguments or "-h" in arguments:
            write("usage: nanoeval monitor [name=value …]\n\nOpens the web monitor.")
            write('It is a package of its own: `pip install "nanoeval[monitor]"`.')
            return 0
        raise ConfigError(
            'the web monitor is not installed: `pip install "nanoeval[monitor]"`. '
            "Without it: nanoeval ls, nanoeval show RUN --slowest"
        )
    if "--help" in arguments or "-h" in arguments:
        write("nanoeval monitor: a web page for the runs that are going and those that are done.")
    monitor = import_module("nanoeval_monitor._cli")
    monitor.monitor(from_command_line(monitor.MonitorArgs, arguments))
    return 0
