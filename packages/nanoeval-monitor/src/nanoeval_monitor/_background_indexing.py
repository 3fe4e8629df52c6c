"""Reads records into their indices while people already look at the first pages."""

from __future__ import annotations

import asyncio
import logging
import sqlite3

from nanoeval_core.errors import NanoevalError

from nanoeval_monitor._record_index import RecordIndex
from nanoeval_monitor._run_summary import add_details, needs_details

log = logging.getLogger("nanoeval.monitor")

FIRST_LOOK_SECONDS = 0.2
SLICE_SECONDS = 0.2
"""How long the reader holds an index before others may have it."""


class BackgroundIndexing:
    """What is read on, one task for each index. Use it with `async with`."""

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None
        self._reading: set[RecordIndex] = set()
        self._searched: set[RecordIndex] = set()

    async def __aenter__(self) -> BackgroundIndexing:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        group, self._group = self._group, None  # which tells the tasks to stop
        if group is not None:
            await group.__aexit__(None, None, None)

    async def look(self, index: RecordIndex) -> None:
        """Read a first part of what is new in a record; the rest is read in the background."""
        if index in self._reading:
            return
        whole = await asyncio.to_thread(index.update, FIRST_LOOK_SECONDS)
        if not whole or needs_details(index):
            self._start(index)

    async def search(self, index: RecordIndex) -> None:
        """Make a first part of a record searchable; the rest becomes so in the background."""
        if index in self._searched:
            return
        whole = await asyncio.to_thread(index.update_search, FIRST_LOOK_SECONDS)
        if not whole or index in self._reading:
            self._searched.add(index)
            self._start(index)

    def _start(self, index: RecordIndex) -> None:
        if self._group is not None and index not in self._reading:
            self._reading.add(index)
            self._group.create_task(self._read(index), name=f"read {index.record.name}")

    async def _read(self, index: RecordIndex) -> None:
        try:
            while self._group is not None:
                if index in self._searched and not await asyncio.to_thread(
                    index.update_search, SLICE_SECONDS
                ):
                    continue  # once it is up to what was read, what is read is searchable at once
                if await asyncio.to_thread(index.update, SLICE_SECONDS):
                    await asyncio.to_thread(add_details, index)
                    return
        except (NanoevalError, OSError, sqlite3.Error) as error:
            # The next look at the run reads on, and shows what is wrong.
            log.warning("record %s: %s", index.record, error)
        finally:
            self._reading.discard(index)
            self._searched.discard(index)
