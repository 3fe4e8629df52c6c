"""Reads records into their indices while people already look at the first pages."""

from __future__ import annotations

import asyncio
import logging
import sqlite3

from nanoeval_core.errors import NanoevalError

from nanoeval_monitor._record_index import RecordIndex
from nanoeval_monitor._run_summary import add_details, needs_details

log = logging.getLogger("nanoeval.monitor")

SLICE_SECONDS = 0.2
"""How long the reader holds an index before others may have it, and how long a first look takes."""


class BackgroundIndexing:
    """What is read on, one task for each index, until the event loop ends."""

    def __init__(self) -> None:
        self._reading: dict[RecordIndex, asyncio.Task[None]] = {}
        self._searched: set[RecordIndex] = set()

    async def look(self, index: RecordIndex) -> None:
        """Read a first part of what is new in a record; the rest is read in the background."""
        if index in self._reading:
            return
        whole = await asyncio.to_thread(index.update, SLICE_SECONDS)
        if not whole or needs_details(index):
            self._start(index)

    async def search(self, index: RecordIndex) -> None:
        """Make a first part of a record searchable; the rest becomes so in the background."""
        if index in self._searched:
            return
        whole = await asyncio.to_thread(index.update_search, SLICE_SECONDS)
        if not whole or index in self._reading:
            self._searched.add(index)
            self._start(index)

    def _start(self, index: RecordIndex) -> None:
        if index not in self._reading:
            self._reading[index] = asyncio.create_task(self._read(index))

    async def _read(self, index: RecordIndex) -> None:
        try:
            while True:
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
            del self._reading[index]
            self._searched.discard(index)
