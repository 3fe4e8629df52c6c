"""The web monitor of a run: found by entry point, so that it stays an optional package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from nanoeval_core.by_name import entry_point_names, load_entry_point
from nanoeval_core.errors import ConfigError

ENTRY_POINT_GROUP = "nanoeval.monitors"


class RunningMonitor(Protocol):
    """What an entry point of the group returns, given the state file: started, and to be closed."""

    url: str

    def close(self) -> None: ...


StartMonitor = Callable[[Path], RunningMonitor]


def find_monitor() -> StartMonitor:
    """Return the installed monitor.

    Raises:
        ConfigError: no monitor is installed.
    """
    for name in entry_point_names(ENTRY_POINT_GROUP):
        start: StartMonitor | None = load_entry_point(ENTRY_POINT_GROUP, name)
        if start is not None:
            return start
    raise ConfigError(
        "RunnerArgs.use_monitor=True needs a monitor, and none is installed: "
        '`pip install "nanoeval[monitor]"`, or leave use_monitor out'
    )
