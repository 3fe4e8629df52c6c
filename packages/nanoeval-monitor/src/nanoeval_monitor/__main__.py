"""`python -m nanoeval_monitor`: the monitor as a process of its own."""

import sys

from nanoeval_core.errors import ConfigError
from nanoeval_runner.command_line import from_command_line

from nanoeval_monitor.cli import MonitorArgs, monitor

if __name__ == "__main__":
    try:
        monitor(from_command_line(MonitorArgs))
    except ConfigError as error:
        sys.exit(f"error: {error}")
