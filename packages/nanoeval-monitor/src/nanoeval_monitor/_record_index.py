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
import operator
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nanoeval_core.errors import RecorderError
from nanoeval_recorder.reading.events import Event, FinalReport, RunStarted
from nanoeval_recorder.reading.reader import parse_event

from nanoeval_monitor import _index_sql as sql
from nanoeval_monitor._attempt_row import AttemptRow, attempt_row, search_text
from nanoeval_monitor._record_lines import FINGERPRINT, Place, RecordLine, RecordLines, Spans
from nanoeval_monitor._texts import whole

BATCH_LINES = 1000
BATCH_BYTES = 8 << 20
SEARCH_BATCH = 1000
SLICE_SECONDS = 0.5

Key = tuple[str, str]

_COLUMNS_OF = operator.attrgetter(*AttemptRow.__slots__)


@dataclasses.dataclass(slots=True)
class _Pending:
    """The events of one attempt in one batch, and where they are."""

    events: list[Event] = dataclasses.field(default_factory=list)
    spans: Spans = dataclasses.field(default_factory=Spans)


@dataclasses.dataclass(slots=True)
class _Batch:
    """Lines that were read together: what they hold, and from where to where they are."""

    start: Place
    end: Place
    size: int = 0
    bad: int = 0
    tail: bytes = b""
    pending: dict[Key, _Pending] = dataclasses.field(default_factory=dict)
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)

    def take(self, line: RecordLine) -> None:
        self.size += len(line.content)
        self.end = Place(line.place.part, line.place.offset + len(line.content))
        self.tail = line.content
        try:
            event = parse_event(line.content)
        except ValueError:
            self.bad += bool(line.content.strip())
            return
        if isinstance(event, RunStarted):
            if line.place.part == 0:
                self.metadata["spec"] = json.dumps(event.spec)
        elif isinstance(event, FinalReport):
            self.metadata["final_report"] = json.dumps(event.data)
        elif event.sample_id is not None:
            key = whole(event.sample_id), whole(event.group_id or "")
            found = self.pending.setdefault(key, _Pending())
            found.events.append(event)
            found.spans.add(line.place, len(line.content))


def _read_batch(lines: Iterator[RecordLine], start: Place) -> _Batch | None:
    """The next lines, or None at the end of the record. `start` is where the last ones ended."""
    batch = _Batch(start, start)
    for count, line in enumerate(lines, 1):
        batch.take(line)
        if count >= BATCH_LINES or batch.size >= BATCH_BYTES:
            break
    return batch if batch.size else None


class RecordIndex:
    """The index of one record. Safe for several threads: one updates, others read."""

    def __init__(self, record: Path) -> None:
        self.record = record
        self.lines = RecordLines(record)
        self._lock = threading.Lock()
        self.path = _index_path(record)
        self._writer = self._open()

    def close(self) -> None:
        with self._lock:
            self._writer.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection of one's own, to read with while the index goes on being made."""
        connection = _connect_to_read(self.path)
        try:
            yield connection
        finally:
            connection.close()

    # --- keeping up with the record

    def update(self, seconds: float) -> bool:
        """Read what the record has beyond the index, for about `seconds`; True when it is all."""
        with self._lock:
            self._check_still_the_same()
            deadline = time.monotonic() + seconds
            place = self._place()
            with contextlib.closing(self.lines.after(place)) as lines:
                while True:
                    batch = _read_batch(lines, place)
                    if batch is None:
                        self._put({"caught_up_at": self.lines.size()})
                        return True
                    if not self._write(batch) or time.monotonic() >= deadline:
                        return False
                    place = batch.end

    def update_all(self) -> None:
        """Read all of the record."""
        while not self.update(SLICE_SECONDS):
            pass

    def update_search(self, seconds: float) -> bool:
        """Make what was indexed searchable, for about `seconds`; True when all of it is."""
        with self._lock:
            deadline = time.monotonic() + seconds
            while self._index_search_batch():
                if time.monotonic() >= deadline:
                    return False
            return True

    def progress(self) -> dict[str, Any]:
        """How much of the record is in the index: `bytes_read` of `bytes`, and whether all is."""
        size = self.lines.size()
        known = self._read_metadata()
        read = known.get("bytes_read", 0)
        return {
            "bytes": size,
            "bytes_read": min(int(read), size),
            "complete": bool(known.get("caught_up_at") == size),
            "attempts": known.get("attempts", 0),
            "searchable": known.get("searchable", 0),
            "bad_lines": known.get("bad_lines", 0),
        }

    def started(self) -> dict[str, Any]:
        """The record's first line: what was run. Empty until it was read."""
        return json.loads(str(self._read_metadata().get("spec") or "{}")) or {}

    def final_report(self) -> Any:
        """The record's last line; None while the run has not finished."""
        report = self._read_metadata().get("final_report")
        return None if report is None else json.loads(str(report))

    def details(self) -> tuple[int, dict[str, Any]]:
        """How many attempts there are, and what `put_details` kept."""
        known = self._read_metadata()
        kept: dict[str, Any] = json.loads(str(known.get("details") or "{}"))
        return int(known.get("attempts", 0)), kept

    def put_details(self, details: dict[str, Any]) -> None:
        """Keep something that was computed from the index, with the index."""
        with self._lock:
            self._put({"details": json.dumps(details)})

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            for pragma in sql.PRAGMAS:
                connection.execute(pragma)
            version = connection.execute(sql.GET_METADATA, ("version",)).fetchone()
        except sqlite3.DatabaseError:
            version = None
        if version == (sql.VERSION,):
            return connection
        connection.close()
        return self._make()

    def _make(self) -> sqlite3.Connection:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        for pragma in sql.PRAGMAS:
            connection.execute(pragma)
        for statement in sql.SCHEMA.split(";"):
            if statement.strip():
                connection.execute(statement)
        connection.execute(sql.SET_METADATA, ("version", sql.VERSION))
        return connection

    def _check_still_the_same(self) -> None:
        part, offset = self._get("part"), self._get("offset")
        if offset is None:
            return
        before = self.lines.before(Place(int(str(part)), int(str(offset))))
        if before != self._get("fingerprint"):
            self._writer.close()
            self._writer = self._make()

    def _place(self) -> Place:
        """Up to where the record is in the index."""
        return Place(int(self._get("part") or 0), int(self._get("offset") or 0))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writer.execute(sql.BEGIN)
        try:
            yield
            self._writer.execute(sql.COMMIT)
        except BaseException:
            self._writer.execute(sql.ROLLBACK)
            raise

    def _write(self, batch: _Batch) -> bool:
        """Put a batch into the index; False if another process has meanwhile read on."""
        tail = batch.tail
        fingerprint = tail[-FINGERPRINT:] if len(tail) >= FINGERPRINT else None
        with self._transaction():
            if self._place() != batch.start:
                return False
            self._put(
                {
                    **batch.metadata,
                    "attempts": self._store(batch.pending),
                    "part": batch.end.part,
                    "offset": batch.end.offset,
                    "fingerprint": fingerprint or self.lines.before(batch.end),
                    "bytes_read": int(self._get("bytes_read") or 0) + batch.size,
                    "bad_lines": int(self._get("bad_lines") or 0) + batch.bad,
                }
            )
        return True

    def _store(self, pending: dict[Key, _Pending]) -> int:
        """Write the attempts of a batch; those that were there already get their new events."""
        (last,) = self._writer.execute(sql.LAST_ATTEMPT).fetchone()
        known = self._known(list(pending))
        searchable = int(self._get("searchable") or 0)
        rows = []
        changes: dict[str, list[float]] = {}
        for key, one in pending.items():
            earlier = known.get(key)
            if earlier is None:
                last += 1
                attempt_id = last
            else:
                attempt_id = self._rejoin(key, one, earlier, searchable, changes)
            row = attempt_row(key[0], key[1], one.events)
            if row.score is not None:
                change = changes.setdefault(key[0], [0, 0.0])
                change[0] += 1
                change[1] += row.score
            rows.append((*_COLUMNS_OF(row), attempt_id, one.spans.pack()))
        self._writer.executemany(sql.PUT_ATTEMPT, rows)
        self._count_scores(changes)
        return int(last)

    def _known(self, keys: Sequence[Key]) -> dict[Key, tuple[int, bytes, float | None]]:
        rows = self._writer.execute(sql.KNOWN_ATTEMPTS, (json.dumps(keys),))
        return {(row[0], row[1]): (row[2], row[3], row[4]) for row in rows}

    def _rejoin(
        self,
        key: Key,
        one: _Pending,
        earlier: tuple[int, bytes, float | None],
        searchable: int,
        changes: dict[str, list[float]],
    ) -> int:
        attempt_id, packed, score = earlier
        (events,) = self.lines.events([packed])
        if attempt_id <= searchable:
            self._writer.execute(sql.DROP_SEARCH, (attempt_id, search_text(key[0], events)))
            body = search_text(key[0], events + one.events)
            self._writer.execute(sql.ADD_SEARCH, (attempt_id, body))
        if score is not None:
            change = changes.setdefault(key[0], [0, 0.0])
            change[0] -= 1
            change[1] -= score
        spans = Spans(packed)
        for part, offset, length in one.spans:
            spans.add(Place(part, offset), length)
        one.events, one.spans = events + one.events, spans
        return attempt_id

    def _count_scores(self, changes: dict[str, list[float]]) -> None:
        rows = self._writer.execute(sql.GET_QUESTIONS, (json.dumps(list(changes)),))
        before = {row[0]: (row[1], row[2]) for row in rows}
        tallies: Counter[tuple[int, float]] = Counter()
        questions = []
        for sample_id, (number, total) in changes.items():
            old = before.get(sample_id, (0, 0.0))
            new = (old[0] + int(number), round(old[1] + total, 9))
            tallies[old] -= 1
            tallies[new] += 1
            questions.append((sample_id, *new))
        self._writer.executemany(sql.PUT_QUESTION, questions)
        self._writer.executemany(
            sql.ADD_TALLY, [(n, total, k) for (n, total), k in tallies.items() if n and k]
        )

    def _index_search_batch(self) -> bool:
        if not _has_full_text():
            raise RecorderError(
                "this Python's sqlite has no FTS5, which full-text search needs: filter by outcome "
                "or group, or use a Python whose sqlite has it"
            )
        with self._transaction():
            self._writer.execute(sql.SEARCH_SCHEMA)
            after = int(self._get("searchable") or 0)
            rows = self._writer.execute(sql.SEARCHABLE, (after, SEARCH_BATCH)).fetchall()
            if not rows:
                return False
            events = self.lines.events([row[2] for row in rows])
            self._writer.executemany(
                sql.ADD_SEARCH,
                [
                    (row[0], search_text(row[1], found))
                    for row, found in zip(rows, events, strict=True)
                ],
            )
            self._put({"searchable": rows[-1][0]})
        return True

    # --- metadata

    def _get(self, key: str) -> Any:
        row = self._writer.execute(sql.GET_METADATA, (key,)).fetchone()
        return None if row is None else row[0]

    def _put(self, values: dict[str, Any]) -> None:
        self._writer.executemany(sql.SET_METADATA, list(values.items()))

    def _read_metadata(self) -> dict[str, Any]:
        with self.reading() as connection:
            return dict(connection.execute(sql.ALL_METADATA).fetchall())


def _has_full_text() -> bool:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        options = {row[0] for row in connection.execute(sql.COMPILE_OPTIONS)}
    return "ENABLE_FTS5" in options


def index_stamp(record: Path) -> int:
    """Changes when the index of a record does; 0 without one."""
    path = _index_path(record)
    return path.stat().st_mtime_ns if path.exists() else 0


@contextlib.contextmanager
def current_index(record: Path) -> Iterator[sqlite3.Connection | None]:
    """The index of a record to read, if there is one and it has (nearly) all of the record."""
    path = _index_path(record)
    if not path.exists():
        yield None
        return
    with contextlib.closing(_connect_to_read(path)) as connection:
        known = dict(connection.execute(sql.ALL_METADATA).fetchall())
        whole = known.get("version") == sql.VERSION
        # Nearly: a record that is being written is always a little ahead of its index.
        whole = whole and known.get("caught_up_at", 0) >= 0.9 * RecordLines(record).size()
        yield connection if whole else None


def _connect_to_read(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _index_path(record: Path) -> Path:
    if os.access(record.parent, os.W_OK):
        return record.with_name(f".{record.name}.index")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nanoeval"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256(str(record.absolute()).encode()).hexdigest()[:32]
    return cache / f"{digest}.index"
