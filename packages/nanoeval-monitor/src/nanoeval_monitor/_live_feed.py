"""All run sets that are going, read once a second in a thread while the monitor is up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from nanoeval_runner.state_files import set_concurrency

from nanoeval_monitor._live_run_set import GOING, LiveRunSet
from nanoeval_monitor._run_list import RunList, changed_at

log = logging.getLogger("nanoeval.monitor")

TICK_SECONDS = 1.0
NEW_SECONDS = 10.0
"""How long a file that cannot be read yet may be one that a run is just making."""
MAX_RUN_SETS = 50
"""State files that are watched at a time: the ones that changed last."""


class LiveFeed:
    """Watches state files. `serve` reads them.

    Args:
        runs: names the state files, and learns of the records of live runs.
    """

    def __init__(self, runs: RunList) -> None:
        self._runs = runs
        self._sets: dict[Path, LiveRunSet] = {}
        self._settled: dict[Path, int] = {}  # read for the last time until they change
        self._changed = asyncio.Event()

    async def serve(self) -> None:
        """Read all of them every `TICK_SECONDS`, until cancelled."""
        while True:
            await asyncio.to_thread(self.tick)
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
            await asyncio.sleep(TICK_SECONDS)

    def tick(self) -> None:
        """Read every state file that is new, changed, or going."""
        files = self._runs.state_paths()[:MAX_RUN_SETS]
        for gone in set(self._sets) - set(files):
            del self._sets[gone]
        for file in files:
            with contextlib.suppress(OSError):
                self._read(file, changed_at(file))

    def _read(self, file: Path, stamp: int) -> None:
        if self._settled.get(file) == stamp:
            return
        try:
            one = self._sets.setdefault(file, LiveRunSet(file, self._runs.follow))
            one.tick()
            if one.view["state"] not in GOING:
                self._settled[file] = stamp
        except Exception as error:  # noqa: BLE001  one file never takes the page from all others
            if time.time() - stamp / 1e9 < NEW_SECONDS:
                return  # looked at again: its run may be writing the first lines of it
            # Reported once for each state that it is in: it may be one of an older nanoeval.
            self._settled[file] = stamp
            log.warning("state file %s is not shown: %s", file, error)

    # --- what was read

    def _shown(self) -> dict[str, LiveRunSet]:
        known = list(self._sets.values())  # a tick on its thread may add one
        return {one.view["run_set_id"]: one for one in known if one.view and one.view["evals"]}

    def views(self) -> list[dict[str, Any]]:
        """Return all run sets that have evals, those that are going first, then the newest."""
        return sorted(
            (one.view for one in self._shown().values()),
            key=lambda view: (
                view["state"] not in GOING,
                -max(row["created_at"] for row in view["evals"]),
            ),
        )

    def run_set(self, run_set_id: str) -> LiveRunSet:
        """Return a run set that has evals.

        Raises:
            KeyError: there is no such run set.
        """
        return self._shown()[run_set_id]

    async def follow(self, run_set_id: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the run set now and at each change; a slow reader gets the latest only."""
        while (one := self._shown().get(run_set_id)) is not None:
            changed = self._changed
            yield one.view
            await changed.wait()

    def set_concurrency(self, run_set_id: str, eval_id: int | None, limit: int | None) -> None:
        """Change a limit.

        Raises:
            KeyError: there is no such run set or eval.
            ConfigError: the limit is no positive number.
        """
        one = self.run_set(run_set_id)
        if eval_id is not None and eval_id not in {row["id"] for row in one.view["evals"]}:
            raise KeyError(eval_id)
        set_concurrency(one.file, eval_id, limit)
