"""The finished runs: which records there are, and what one look at each tells."""

from __future__ import annotations

import dataclasses
import os
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from nanoeval_core.errors import NanoevalError
from nanoeval_recorder.reading.events import FinalReport, OtherEvent, RunStarted
from nanoeval_recorder.reading.reader import SUFFIXES, open_record, parse_event, record_parts

from nanoeval_monitor._record_index import RecordIndex, index_stamp
from nanoeval_monitor._run_summary import peek
from nanoeval_monitor._texts import number, plain

TAIL_BYTES = 1 << 20
MAX_OPEN_INDICES = 32
_SAFE = re.compile(r"[^A-Za-z0-9_.-]+")
_COMPRESSED = (".zst", ".gz")
_LATER_PART = re.compile(r"(.+)\.\d{4,}(\.jsonl(?:\.zst|\.gz)?)")


@dataclasses.dataclass(frozen=True, slots=True)
class RunEntry:
    """A record in the table of runs. `key` names it in URLs; paths never come from outside."""

    key: str
    path: Path
    eval_name: str
    model: str
    run_id: str
    run_set_id: str
    created_at: str
    created_by: str
    score: float | None
    low: float | None
    high: float | None
    n: int | None
    is_complete: bool
    bytes: int

    def as_dict(self) -> dict[str, Any]:
        entry: dict[str, Any] = plain(dataclasses.asdict(self))
        return {**entry, "path": str(self.path), "folder": str(self.path.parent)}


class RunList:
    """The records in some folders, and their open indices. Owns both; safe for several threads.

    Args:
        folders: where records are looked for; those of live runs join with `include`.
        open_index: for tests.
    """

    def __init__(
        self, folders: Sequence[Path], open_index: Callable[[Path], RecordIndex] = RecordIndex
    ) -> None:
        self._folders = list(dict.fromkeys(folder.absolute() for folder in folders))
        self._make_index = open_index
        self._lock = threading.Lock()
        self._indices: dict[Path, RecordIndex] = {}
        self._entries: dict[Path, tuple[tuple[int, int, int], RunEntry | None]] = {}
        self._by_key: dict[str, Path] = {}

    @property
    def folders(self) -> list[Path]:
        return list(self._folders)

    def close(self) -> None:
        with self._lock:
            for index in self._indices.values():
                index.close()
            self._indices.clear()

    def include(self, folder: Path) -> None:
        """Look for records in `folder` too: a live run writes there."""
        if folder.absolute() not in self._folders:
            self._folders.append(folder.absolute())

    def entries(self) -> list[RunEntry]:
        """All runs, newest first."""
        with self._lock:
            files: dict[Path, list[Path]] = {}
            for folder in self._folders:
                files |= _candidates(folder)
            found = [entry for parts in files.values() if (entry := self._entry(parts))]
            for path in set(self._entries) - set(files):
                del self._entries[path]
            self._by_key = {entry.key: entry.path for entry in found}
        return sorted(found, key=lambda entry: entry.created_at, reverse=True)

    def index(self, key: str) -> RecordIndex:
        """The index of the run that `key` names.

        Raises:
            KeyError: no run has that key.
        """
        if key not in self._by_key:
            self.entries()
        return self.index_of(self._by_key[key])

    def index_of(self, record: Path) -> RecordIndex:
        """The index of a record. The one that was used longest ago is closed when many are open."""
        with self._lock:
            index = self._indices.pop(record, None) or self._make_index(record)
            self._indices[record] = index
            if len(self._indices) > MAX_OPEN_INDICES:
                self._indices.pop(next(iter(self._indices))).close()
        return index

    def follow(self, record: Path) -> RecordIndex:
        """The index of a live run's record, whose folder joins those that are looked at."""
        self.include(record.parent)
        return self.index_of(record)

    def _entry(self, parts: list[Path]) -> RunEntry | None:
        """The entry of a file, or None if it is no record; looked at again when it has changed."""
        file = parts[0]
        try:
            size = sum(part.stat().st_size for part in parts)
            stamp = (file.stat().st_mtime_ns, size, index_stamp(file))
            known = self._entries.get(file)
            if known is not None and known[0] == stamp:
                return known[1]
        except OSError:
            return None  # gone meanwhile
        try:
            entry = self._look_at(parts, size)
        except (OSError, NanoevalError, ValueError):
            entry = None  # no record after all
        self._entries[file] = (stamp, entry)
        return entry

    def _look_at(self, parts: list[Path], size: int) -> RunEntry:
        file = parts[0]
        started = _first_line(file)
        spec = started.spec
        final = _last_line(parts[-1])
        score, low, high, n = _headline(final.data if final else None)
        if low is None:
            known = peek(file)
            score, low, high, n = known or (score, low, high, n)
        run_id = str(started.run_id or spec.get("run_id") or file.stem)
        return RunEntry(
            key=self._key(run_id, file),
            path=file,
            eval_name=str(started.eval_name or spec.get("eval_name") or file.stem),
            model=str(started.model or spec.get("model_name") or ""),
            run_id=run_id,
            run_set_id=str(started.run_set_id or ""),
            created_at=str(started.created_at or spec.get("created_at") or ""),
            created_by=str(spec.get("created_by") or ""),
            score=score,
            low=low,
            high=high,
            n=n,
            is_complete=final is not None,
            bytes=size,
        )

    def _key(self, run_id: str, file: Path) -> str:
        """The run's id, with a number where copies of a record have the same."""
        key = stem = _SAFE.sub("-", run_id)[:80] or "run"
        copy = 1
        while self._by_key.get(key, file) != file:
            copy += 1
            key = f"{stem}~{copy}"
        self._by_key[key] = file
        return key


def _candidates(folder: Path) -> dict[Path, list[Path]]:
    """What may be a record in `folder`, by its name: its parts by the first of them.

    One walk for all: asking for the parts of each would walk the folder once for every record.
    """
    if folder.is_file():
        return {folder: record_parts(folder)}
    found = [file for file in sorted(folder.rglob("*")) if file.name.endswith(SUFFIXES)]
    names = set(found)
    parts: dict[Path, list[Path]] = {}
    for file in found:
        match = _LATER_PART.fullmatch(file.name)
        first = file if match is None else file.with_name(match[1] + match[2])
        parts.setdefault(first if first in names else file, []).append(file)
    return {first: _in_order(first, files) for first, files in parts.items()}


def _in_order(first: Path, files: list[Path]) -> list[Path]:
    """`files` with the first part first: by name, `x.0001.jsonl` comes before `x.jsonl`."""
    return [first, *(file for file in files if file != first)]


def _first_line(file: Path) -> RunStarted:
    with open_record(file) as stream:
        event = parse_event(stream.readline())
    if isinstance(event, RunStarted):
        return event
    if event.run_id is None and isinstance(event, OtherEvent):
        raise ValueError(f"{file} is no record")
    return RunStarted(run_id=event.run_id)


def _last_line(last: Path) -> FinalReport | None:
    """The final report, where the last line is one; compressed files are not read for it."""
    if last.name.endswith(_COMPRESSED):
        return None
    with last.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - TAIL_BYTES))
        lines = stream.read().splitlines()
    try:
        event = parse_event(lines[-1]) if lines else None
    except (ValueError, msgspec.MsgspecError):
        return None
    return event if isinstance(event, FinalReport) else None


def _headline(report: Any) -> tuple[float | None, float | None, float | None, int | None]:
    """Score, interval and number of questions out of a final report, where it has them."""
    if not isinstance(report, dict):
        return None, None, None, None
    name = next((name for name in ("accuracy", "score", "mean") if name in report), None)
    if name is None:
        return None, None, None, None
    interval = report.get(f"{name}_ci95")
    low, high = interval if isinstance(interval, list) and len(interval) == 2 else (None, None)
    n = number(report.get("n", report.get(f"{name}_n")))
    return number(report[name]), number(low), number(high), None if n is None else int(n)
