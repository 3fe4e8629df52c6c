"""What the first and the last line of a record say: enough to list many, without reading them."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from nanoeval_core.errors import RecorderError

from nanoeval_recorder.reading._open import DamagedRecord
from nanoeval_recorder.reading.events import Event, FinalReport, RunStarted
from nanoeval_recorder.reading.reader import (
    first_event,
    open_record,
    parse_event,
    record_files,
    record_parts,
)

__all__ = ["Outline", "outline_of", "outlines"]

TAIL = 1 << 16


@dataclasses.dataclass(frozen=True, slots=True)
class Outline:
    """A record, in short.

    Attributes:
        path: the record, or its first part.
        started: its first line: what was run.
        final_report: what its last line reports; None when the run has not finished.
        modified_at: when it was last written, in seconds since the epoch.
    """

    path: Path
    started: RunStarted
    final_report: dict[str, Any] | None
    modified_at: float

    @property
    def run_id(self) -> str:
        return self.started.run_id or self.path.stem


def outlines(folder: str | Path) -> list[Outline]:
    """Return the records in `folder`, newest first; files that begin like none are left out."""
    found = [outline for file in record_files(folder) if (outline := _if_there(file)) is not None]
    return sorted(found, key=lambda outline: -outline.modified_at)


def _if_there(file: Path) -> Outline | None:
    try:
        return outline_of(file)
    except (OSError, RecorderError):  # gone since the folder was listed
        return None


def outline_of(file: Path) -> Outline | None:
    """Return the outline of one record; None when it does not begin as one does.

    Raises:
        OSError: it cannot be opened.
        RecorderError: it is no regular file, or compressed in a way that this Python lacks.
    """
    first = first_event(file)
    if not isinstance(first, RunStarted):
        return None
    last_file = record_parts(file)[-1]
    last = _event(_last_line(last_file))
    if not isinstance(last, FinalReport) and first.run_set_id is None:
        last = _event(_line_of_report(last_file))
    report = last.data if isinstance(last, FinalReport) and isinstance(last.data, dict) else None
    if report is not None and report.get("partial"):
        report = None
    return Outline(file, first, report, last_file.stat().st_mtime)


def _event(line: bytes) -> Event | None:
    try:
        return parse_event(line)
    except ValueError:  # half written, or not ours
        return None


def _last_line(file: Path) -> bytes:
    if file.suffix in (".zst", ".gz"):
        last = b""
        with open_record(file) as lines, contextlib.suppress(DamagedRecord):
            for line in lines:
                last = line
        return last
    with open_record(file) as lines:
        size = end = lines.seek(0, 2)
        tail = b""
        while end > 0 and b"\n" not in tail.rstrip(b"\n"):
            start = max(0, size - 2 * (size - end) - TAIL)
            lines.seek(start)
            tail, end = lines.read(size - start), start
    return tail.rstrip(b"\n").rpartition(b"\n")[2]


def _line_of_report(file: Path) -> bytes:
    """Return the final report of a record of the evals package, which may precede events."""
    with open_record(file) as lines, contextlib.suppress(DamagedRecord):
        for line in lines:
            if line.startswith(b'{"final_report"'):
                return line
    return b""
