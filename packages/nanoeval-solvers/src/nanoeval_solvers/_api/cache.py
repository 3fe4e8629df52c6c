"""Replies that were already paid for: a sqlite file that processes share."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nanoeval_core.errors import ConfigError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS reply (key BLOB PRIMARY KEY, status INTEGER NOT NULL, body BLOB NOT NULL)
WITHOUT ROWID
"""
_GET = "SELECT status, body FROM reply WHERE key = ?"  # served by the primary key
_PUT = "INSERT OR IGNORE INTO reply (key, status, body) VALUES (?, ?, ?)"


def key_of(url: str, request: bytes, sample: str) -> bytes:
    """Return a name of a reply by all that determines it: where it came from, what was asked, and
    which sample it is."""
    digest = hashlib.sha256()
    for part in (url.encode(), request, sample.encode()):
        digest.update(len(part).to_bytes(8) + part)
    return digest.digest()


class ReplyCache:
    """Replies by key. All access happens on one thread of its own.

    Args:
        path: the sqlite file, made when missing, its folder too.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="nanoeval-reply-cache")
        self._database: sqlite3.Connection | None = None

    async def get(self, key: bytes) -> tuple[int, bytes] | None:
        """Return the status and body stored under `key`."""
        found: tuple[int, bytes] | None = await self._execute(_GET, key)
        return found

    async def put(self, key: bytes, status: int, body: bytes) -> None:
        """Store a reply; the first one stored under a key stays."""
        await self._execute(_PUT, key, status, body)

    async def close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, database.close)
        self._thread.shutdown(wait=False)

    async def _execute(self, statement: str, *values: object) -> Any:
        def execute() -> Any:
            if self._database is None:
                self._database = self._open()
            return self._database.execute(statement, values).fetchone()

        return await asyncio.get_running_loop().run_in_executor(self._thread, execute)

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(
                self._path, timeout=60, isolation_level=None, check_same_thread=False
            )
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"the reply cache {self._path} cannot be opened: {error}. Name a folder that can "
                "be written in `cache`, or leave it out"
            ) from error
        return database
