"""The runs there are: those that have a state file, and those of which a record is left."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from nanoeval_core.errors import NanoevalError
from nanoeval_core.json_values import json_value
from nanoeval_core.metrics.headline import headline
from nanoeval_core.run_facts import RunFacts
from nanoeval_recorder.reading.events import OtherEvent, RunStarted
from nanoeval_recorder.reading.outline import Outline, outline_of
from nanoeval_recorder.reading.reader import first_event, named_like_records, record_parts
from nanoeval_runner.state_files import (
    SUFFIX,
    EvalRow,
    StateFile,
    is_being_run,
    read_state_file,
    record_of,
    state_paths,
)

from nanoeval_monitor._record_index import RecordIndex, index_stamp, peek

log = logging.getLogger("nanoeval.monitor")

_SAFE = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclasses.dataclass(kw_only=True)
class RunEntry(RunFacts):
    """A run in the table of runs. `key` names it in URLs; paths never come from outside.

    Attributes:
        score, stderr, low, high, n: of the metric `metric`; None without one.
        path: where its record is; None where it was recorded elsewhere, or not at all.
        has_state: whether its run set has a state file, so that it can be resumed.
    """

    key: str
    created_by: str = ""
    metric: str = ""
    score: float | None = None
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    path: Path | None = None
    has_state: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values, as the page gets them."""
        fields = {**vars(self), "path": str(self.path or "")}
        del fields["summary"]
        return {**fields, "eval_name": fields.pop("eval"), "lost": fields.pop("errors")}


class RunList:
    """The runs of some folders, and the indices of their records. Safe for several threads.

    Args:
        folders: where records are looked for; those of live runs join with `follow`.
        state: the folder of state files, or one of them.
    """

    def __init__(self, folders: Sequence[Path], state: Path) -> None:
        self.folders = list(dict.fromkeys(folder.absolute() for folder in folders))
        self._state = state
        self._lock = threading.Lock()
        self._indices: dict[Path, RecordIndex] = {}
        self._records: dict[Path, tuple[Any, RunEntry | None]] = {}
        self._states: dict[Path, tuple[Any, StateFile | None]] = {}
        self._entries: dict[str, RunEntry] = {}

    def entries(self) -> list[RunEntry]:
        """Return all runs: those that are going first, then the newest."""
        with self._lock:
            found = {entry.path: entry for entry in self._recorded()}
            copies: Counter[str] = Counter()
            for entry in found.values():
                stem = _SAFE.sub("-", entry.run_id)[:80] or "run"
                copies[stem] += 1
                entry.key = stem if copies[stem] == 1 else f"{stem}~{copies[stem]}"
            by_run_id = {entry.run_id: entry for entry in found.values()}
            entries = {entry.key: entry for entry in found.values()}
            for file in self._state_files():
                for row in file.evals:
                    known = found.get(record_of(row)) or by_run_id.get(row.run_id)
                    entry = _with_state(known, file, row)
                    entries[entry.key] = entry
            self._entries = entries
        going = ("queued", "running")
        return sorted(entries.values(), key=lambda run: (run.state not in going, -run.created_at))

    def entry(self, key: str) -> RunEntry:
        """Return the run that `key` names, as it was when the table was last made.

        Raises:
            KeyError: no run has that key.
        """
        if key not in self._entries:
            self.entries()
        return self._entries[key]

    def index(self, key: str) -> RecordIndex:
        """Return the index of the run that `key` names.

        Raises:
            KeyError: no run has that key, or it has no record here.
        """
        path = self.entry(key).path
        if path is None:
            raise KeyError(f"record of {key}")
        return self.index_of(path)

    def index_of(self, record: Path) -> RecordIndex:
        """Return the index of a record."""
        with self._lock:
            if record not in self._indices:
                self._indices[record] = RecordIndex(record)
            return self._indices[record]

    def follow(self, record: Path) -> RecordIndex:
        """Return the index of a live run's record, whose folder joins those that are looked at."""
        if record.parent.absolute() not in self.folders:
            self.folders.append(record.parent.absolute())
        return self.index_of(record)

    # --- records

    def _recorded(self) -> list[RunEntry]:
        stamps: dict[Path, Any] = {}
        for folder in self.folders:
            is_file = folder.is_file()
            files = {folder: record_parts(folder)} if is_file else named_like_records(folder)
            for file, parts in files.items():
                with contextlib.suppress(OSError):  # gone meanwhile
                    size = sum(part.stat().st_size for part in parts)
                    stamps[file] = file.stat().st_mtime_ns, size, index_stamp(file)
        self._records = _refreshed(self._records, stamps, _look_at)
        return [entry for _, entry in self._records.values() if entry is not None]

    # --- state files

    def state_paths(self) -> list[Path]:
        """Return the state files, the newest first."""
        if self._state.suffix == SUFFIX:
            return [self._state] if self._state.exists() else []
        return state_paths(self._state)

    def _state_files(self) -> list[StateFile]:
        stamps: dict[Path, Any] = {}
        for path in self.state_paths():
            with contextlib.suppress(OSError):  # gone meanwhile
                stamps[path] = changed_at(path), is_being_run(path)
        self._states = _refreshed(self._states, stamps, _read_state)
        return [file for _, file in self._states.values() if file is not None]


T = TypeVar("T")


def _refreshed(
    known: Mapping[Path, tuple[Any, T]], stamps: Mapping[Path, Any], read: Callable[[Path], T]
) -> dict[Path, tuple[Any, T]]:
    """Return files with their stamps and what they hold: read again where the stamp is new."""
    return {
        path: known[path] if path in known and known[path][0] == stamp else (stamp, read(path))
        for path, stamp in stamps.items()
    }


def _read_state(path: Path) -> StateFile | None:
    try:
        return read_state_file(path)
    except (NanoevalError, OSError):
        return None  # the feed reports it


def changed_at(file: Path) -> int:
    """Return when a state file was last written, in nanoseconds: its own time, or its log's."""
    log_file = file.with_name(f"{file.name}-wal")
    times = [one.stat().st_mtime_ns for one in (file, log_file) if one.exists()]
    return max(times, default=0)


def _look_at(file: Path) -> RunEntry | None:
    try:
        outline = outline_of(file)
        if outline is None:  # events whose first line is lost are a record too
            first = first_event(file)
            if first is None or (first.run_id is None and isinstance(first, OtherEvent)):
                return None
            outline = Outline(file, RunStarted(run_id=first.run_id), None, file.stat().st_mtime)
        return _of_record(outline)
    except (OSError, NanoevalError):
        return None  # no record after all
    except Exception as error:  # noqa: BLE001  one file never takes the table from all others
        log.warning("%s is not shown: %s: %s", file, type(error).__name__, error)
        return None


def _of_record(outline: Outline) -> RunEntry:
    created_by = str(outline.started.spec.get("created_by") or "")
    entry = RunEntry(key="", created_by=created_by, path=outline.path, **vars(outline.facts()))
    _add_score(entry)
    known = peek(outline.path) if entry.low is None else None
    if known is not None and known.mean is not None:
        entry.score, entry.low, entry.high, entry.n = known.mean, known.low, known.high, known.n
    return entry


def _add_score(entry: RunEntry) -> None:
    """Give a run the score that its summary has, if it has one."""
    found = headline(json_value(entry.summary))
    if found is not None:
        entry.metric, entry.score, entry.stderr, entry.low, entry.high = found
        n = entry.summary.get(f"{found.name}_n", entry.summary.get("n"))
        entry.n = n if type(n) is int and abs(n) < 1 << 53 else None


def _with_state(known: RunEntry | None, file: StateFile, row: EvalRow) -> RunEntry:
    """Return what a state file says of a run, which is more and later than what its record says."""
    of_state = RunEntry(key=_SAFE.sub("-", row.run_id), run_id=row.run_id)
    entry = dataclasses.replace(known or of_state)
    report = entry.summary
    entry.update(file.facts_of(row))
    entry.has_state = True
    if report:
        entry.summary = report
    elif entry.score is None and entry.done:
        _add_score(entry)
    return entry
