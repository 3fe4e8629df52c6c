"""The web monitor of a run: found by entry point, so that it stays an optional package."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from nanoeval_core.by_name import entry_point_names, load_entry_point
from nanoeval_core.errors import ConfigError

from nanoeval_runner._interrupts import say

log = logging.getLogger("nanoeval.runner")

ENTRY_POINT_GROUP = "nanoeval.monitors"


class RunningMonitor(Protocol):
    """What an entry point of the group returns, given the state file: started, and to be closed."""

    @property
    def url(self) -> str: ...

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


class MonitorOfRun:
    """Owns the one monitor of a run set: started by the first run that wants it."""

    def __init__(self, state_file: Path) -> None:
        self._state_file = state_file
        self._running: RunningMonitor | None = None
        self._starting = asyncio.Lock()

    async def start(self, start_monitor: StartMonitor) -> None:
        """Start it, once, and say where it is. A monitor that does not start stops no run."""
        async with self._starting:
            if self._running is None:
                try:
                    self._running = await asyncio.to_thread(start_monitor, self._state_file)
                except Exception as error:  # noqa: BLE001  reported: the run goes on without it
                    log.error("no monitor: %s", error)  # noqa: TRY400  its trace helps nobody
                    return
                say(f"monitor: {self._running.url}")

    async def close(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            await asyncio.to_thread(running.close)
