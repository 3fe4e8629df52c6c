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


class CatchUp:
    """The readers that are at work, one for each record. Use it with `async with`."""

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None
        self._reading: set[RecordIndex] = set()

    async def __aenter__(self) -> CatchUp:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        group, self._group = self._group, None
        self._reading.clear()  # tells the readers to stop
        if group is not None:
            await group.__aexit__(None, None, None)

    async def look(self, index: RecordIndex) -> None:
        """Read a first part of what is new in a record; the rest is read in the background."""
        if index in self._reading:
            return
        whole = await asyncio.to_thread(index.update, FIRST_LOOK_SECONDS)
        if self._group is None or (whole and not needs_details(index)):
            return
        self._reading.add(index)
        self._group.create_task(self._read(index), name=f"read {index.record.name}")

    async def _read(self, index: RecordIndex) -> None:
        try:
            while index in self._reading:
                if await asyncio.to_thread(index.update, SLICE_SECONDS):
                    await asyncio.to_thread(add_details, index)
                    return
        except (NanoevalError, OSError, sqlite3.Error) as error:
            # The next look at the run reads on, and tells whoever looks what is wrong.
            log.warning("record %s: %s", index.record, error)
        finally:
            self._reading.discard(index)
