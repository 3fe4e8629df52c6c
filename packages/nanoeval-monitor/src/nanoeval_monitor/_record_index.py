"""The index of a record: makes 100,000 attempts a table that opens and filters at once.

It is a sqlite file in the record's folder (in the user's cache folder where that is read-only) and
holds a line about each attempt and where its events are. It follows a record that is being
written, and is made again when the record was cut or replaced.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nanoeval_core.errors import RecorderError
from nanoeval_core.fs_paths import user_folder
from nanoeval_core.json_values import utf8
from nanoeval_core.metrics.clustered_mean import MeanEstimate
from nanoeval_recorder.reading.events import Event, FinalReport, RecordedFile, RunStarted
from nanoeval_recorder.reading.reader import parse_event

from nanoeval_monitor import _index_sql as sql
from nanoeval_monitor._attempt_row import AttemptDigest
from nanoeval_monitor._record_lines import (
    FINGERPRINT,
    Place,
    RecordLine,
    bytes_before,
    events_at,
    extended,
    lines_after,
    size_of,
)
from nanoeval_monitor._score_totals import estimate

BATCH_BYTES = 2 << 20
SEARCH_BATCH = 4000
SLICE_SECONDS = 0.5

AttemptIds = tuple[str, str]


@dataclasses.dataclass(slots=True)
class _Batch:
    """Lines that were read together: what they hold, and from where to where they are."""

    start: Place
    end: Place
    tail: bytes = b""
    size: int = 0
    bad: int = 0
    attempts: dict[AttemptIds, AttemptDigest] = dataclasses.field(default_factory=dict)
    spans: dict[AttemptIds, bytes] = dataclasses.field(default_factory=dict)
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)

    def take(self, event: Event | None, key: AttemptIds | None, line: RecordLine) -> None:
        part, offset, content = line
        length = len(content)
        self.end = Place(part, offset + length)
        self.tail = content[-FINGERPRINT:]
        self.size += length
        if event is None:
            self.bad += bool(content.strip())
        elif isinstance(event, RecordedFile):
            if event.sha256 is not None:
                spans = self.files.get(event.sha256, b"")
                self.files[event.sha256] = extended(spans, part, offset, length)
        elif key is not None:
            digest = self.attempts.get(key)
            if digest is None:
                digest = self.attempts[key] = AttemptDigest(*key)
            digest.add(event)
            self.spans[key] = extended(self.spans.get(key, b""), part, offset, length)
        elif isinstance(event, RunStarted):
            if part == 0:
                self.metadata["spec"] = json.dumps(event.spec)
        elif isinstance(event, FinalReport):
            self.metadata["final_report"] = json.dumps(event.data)


def _read_batches(lines: Iterator[RecordLine], start: Place) -> Iterator[_Batch]:
    """Yield the lines from `start` on. What follows each other of one attempt is not parted."""
    batch = _Batch(start, start)
    last: AttemptIds | None = None
    for line in lines:
        try:
            event = parse_event(line.content)
        except ValueError:
            event = None
        key = None
        if event is not None and event.sample_id is not None:
            key = utf8(event.sample_id), utf8(event.group_id or "")
        if key != last and batch.size >= BATCH_BYTES:
            yield batch
            batch = _Batch(batch.end, batch.end)
        batch.take(event, key, line)
        last = key
    if batch.size:
        yield batch


class RecordIndex:
    """The index of one record. Safe for several threads: one updates, others read.

    Connections are open only while something is read or written, so there is nothing to close.
    """

    def __init__(self, record: Path) -> None:
        self.record = record
        self.path = _index_path(record)
        self._lock = threading.RLock()
        with contextlib.suppress(sqlite3.DatabaseError):  # it is missing, or damaged
            if self._read_metadata().get("version") == sql.VERSION:
                return
        self._make()

    def reading(self) -> contextlib.closing[sqlite3.Connection]:
        """Return a connection to read with, `with` it, while the index goes on being made."""
        return contextlib.closing(_connect_to_read(self.path))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with (
            self._lock,
            contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection,
        ):
            connection.executescript(sql.PRAGMAS)
            yield connection

    def _make(self) -> None:
        """Make an empty index in place of what is there."""
        with self._lock:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            self.path.touch(0o600)
            with self._writing() as connection:
                connection.executescript(sql.SCHEMA)
                _put(connection, {"version": sql.VERSION})

    # --- keeping up with the record

    def update(self, seconds: float) -> bool:
        """Read what the record has beyond the index, for about `seconds`; True when it is all."""
        known = self._read_metadata()
        if "offset" in known and bytes_before(self.record, _place(known)) != known["fingerprint"]:
            self._make()  # the record was cut or replaced
        with self._writing() as connection:
            deadline = time.monotonic() + seconds
            place = _place(_metadata(connection))
            with contextlib.closing(lines_after(self.record, place)) as lines:
                for batch in _read_batches(lines, place):
                    if not self._write(connection, batch) or time.monotonic() >= deadline:
                        return False
            connection.executescript(sql.SORTED)
            _put(connection, {"caught_up_at": size_of(self.record)})
            return True

    def update_all(self) -> None:
        """Read all of the record."""
        while not self.update(SLICE_SECONDS):
            pass

    def update_search(self, seconds: float) -> bool:
        """Make what was indexed searchable, for about `seconds`; True when all of it is."""
        with self._writing() as connection:
            if ("ENABLE_FTS5",) not in connection.execute(sql.COMPILE_OPTIONS).fetchall():
                raise RecorderError(
                    "this Python's sqlite has no FTS5, which full-text search needs: filter by "
                    "verdict or field, or use a Python whose sqlite has it"
                )
            deadline = time.monotonic() + seconds
            while self._index_search_batch(connection):
                if time.monotonic() >= deadline:
                    return False
            return True

    def progress(self) -> dict[str, Any]:
        """Return how much of the record is in the index: `bytes_read` of `bytes`, and if all is."""
        size = size_of(self.record)
        known = self._read_metadata()
        return {
            "bytes": size,
            "bytes_read": min(known.get("bytes_read", 0), size),
            "complete": known.get("caught_up_at") == size,
            "attempts": known.get("attempts", 0),
            "searchable": known.get("searchable", 0),
            "bad_lines": known.get("bad_lines", 0),
        }

    def started(self) -> dict[str, Any]:
        """Return the record's first line: what was run. Empty until it was read."""
        spec: dict[str, Any] = json.loads(self._read_metadata().get("spec", "{}"))
        return spec

    def final_report(self) -> Any:
        """Return the record's last line; None while the run has not finished."""
        return json.loads(self._read_metadata().get("final_report", "null"))

    def file(self, sha256: str) -> RecordedFile:
        """Return what the record keeps under that hash.

        Raises:
            KeyError: it keeps nothing there (yet).
        """
        with self.reading() as connection:
            row = connection.execute(sql.GET_FILE, (sha256,)).fetchone()
        if row is None:
            raise KeyError(sha256)
        ((event, *_),) = events_at(self.record, [row[0]])
        assert isinstance(event, RecordedFile)  # noqa: S101  only those are in the table
        return event

    def details(self) -> tuple[int, dict[str, Any]]:
        """Return how many attempts there are, and what `put_details` kept."""
        known = self._read_metadata()
        return known.get("attempts", 0), json.loads(known.get("details", "{}"))

    def put_details(self, details: dict[str, Any]) -> None:
        """Keep something that was computed from the index, with the index."""
        with self._writing() as connection:
            _put(connection, {"details": json.dumps(details)})

    def _read_metadata(self) -> dict[str, Any]:
        with self.reading() as connection:
            return _metadata(connection)

    def _write(self, connection: sqlite3.Connection, batch: _Batch) -> bool:
        """Put a batch into the index; False if another process has meanwhile read on."""
        is_short = len(batch.tail) < FINGERPRINT  # then it goes on in the lines before
        with connection:  # commits, or rolls back
            connection.execute(sql.BEGIN)
            known = _metadata(connection)
            if _place(known) != batch.start:
                return False
            before, searchable = known.get("attempts", 0), known.get("searchable", 0)
            connection.executemany(sql.PUT_FILE, batch.files.items())
            _put(
                connection,
                {
                    **batch.metadata,
                    "attempts": self._store(connection, batch, before, searchable),
                    **batch.end._asdict(),
                    "fingerprint": bytes_before(self.record, batch.end) if is_short else batch.tail,
                    "bytes_read": known.get("bytes_read", 0) + batch.size,
                    "bad_lines": known.get("bad_lines", 0) + batch.bad,
                },
            )
        return True

    def _store(
        self, connection: sqlite3.Connection, batch: _Batch, before: int, searchable: int
    ) -> int:
        """Write the attempts of a batch, after the `before` first; return how many there are."""
        attempts, spans = batch.attempts, batch.spans
        rows = {key: one.row() for key, one in attempts.items()}
        values = [(*row, None, spans[key]) for key, row in rows.items()]
        last = before + connection.executemany(sql.ADD_ATTEMPT, values).rowcount
        scores: list[tuple[str, int, float | None]] = []  # what each question gains or loses
        if last < before + len(rows):  # some attempts were there: they get their new events
            keys = json.dumps(list(attempts))
            known = connection.execute(sql.KNOWN_ATTEMPTS, (before, keys)).fetchall()
            earlier = events_at(self.record, [row[3] for row in known])
            later = events_at(self.record, [spans[row[:2]] for row in known])
            for row, old, new in zip(known, earlier, later, strict=True):
                sample_id, group_id, attempt_id, old_spans, score = row
                digest = AttemptDigest(sample_id, group_id, old)
                old_text = digest.search_text()
                for event in new:
                    digest.add(event)
                del attempts[row[:2]]
                rows[row[:2]] = digest.row()
                whole = (*rows[row[:2]], attempt_id, old_spans + spans[row[:2]])
                connection.execute(sql.PUT_ATTEMPT, whole)
                scores.append((sample_id, -1, score))
                if attempt_id <= searchable:
                    connection.execute(sql.DROP_SEARCH, (attempt_id, old_text))
                    connection.execute(sql.ADD_SEARCH, (attempt_id, digest.search_text()))
        if searchable == before > 0:  # search is asked for, and was up to here
            texts = [one.search_text() for one in attempts.values()]
            ids = range(before + 1, last + 1)
            connection.executemany(sql.ADD_SEARCH, zip(ids, texts, strict=True))
            _put(connection, {"searchable": last})
        scores += [(row.sample_id, 1, row.score) for row in rows.values()]
        changes = [(id_, n, n * score) for id_, n, score in scores if score is not None]
        connection.executemany(sql.ADD_SCORE, changes)
        return last

    def _index_search_batch(self, connection: sqlite3.Connection) -> bool:
        with connection:  # commits, or rolls back
            connection.execute(sql.BEGIN)
            connection.execute(sql.SEARCH_SCHEMA)
            connection.execute(sql.SEARCH_MERGES)
            after = _metadata(connection).get("searchable", 0)
            rows = connection.execute(sql.SEARCHABLE, (after, SEARCH_BATCH)).fetchall()
            if not rows:
                return False
            events = events_at(self.record, [row[3] for row in rows])
            texts = [
                (attempt_id, AttemptDigest(sample_id, group_id, found).search_text())
                for (attempt_id, sample_id, group_id, _), found in zip(rows, events, strict=True)
            ]
            connection.executemany(sql.ADD_SEARCH, texts)
            _put(connection, {"searchable": rows[-1][0]})
        return True


def _metadata(connection: sqlite3.Connection) -> dict[str, Any]:
    return dict(connection.execute(sql.ALL_METADATA).fetchall())


def _put(connection: sqlite3.Connection, values: dict[str, Any]) -> None:
    connection.executemany(sql.SET_METADATA, values.items())


def _place(metadata: dict[str, Any]) -> Place:
    """Return up to where the record is in the index."""
    return Place(metadata.get("part", 0), metadata.get("offset", 0))


def index_stamp(record: Path) -> int:
    """Return a number that changes when the index of a record does; 0 without one."""
    path = _index_path(record)
    return path.stat().st_mtime_ns if path.exists() else 0


def peek(record: Path) -> MeanEstimate | None:
    """Return the score of a record whose index has (nearly) all of it; else None."""
    with (
        contextlib.suppress(sqlite3.Error),  # it is missing, or of another version
        contextlib.closing(_connect_to_read(_index_path(record))) as connection,
    ):
        known = _metadata(connection)
        # Nearly: a record that is being written is always a little ahead of its index.
        is_whole = known.get("caught_up_at", 0) >= 0.9 * size_of(record)
        if known.get("version") == sql.VERSION and is_whole:
            return estimate(connection.execute(sql.TALLIES).fetchall())
    return None


def _connect_to_read(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _index_path(record: Path) -> Path:
    if os.access(record.parent, os.W_OK):
        return record.with_name(f".{record.name}.index")
    cache = user_folder("cache")
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256(str(record.absolute()).encode()).hexdigest()[:32]
    return cache / f"{digest}.index"
