"""What the first and the last line of a record say: enough to list many, without reading them."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from nanoeval_recorder._files import existing_parts, split_name
from nanoeval_recorder.reading._open import DamagedRecord
from nanoeval_recorder.reading.events import Event, FinalReport, RunStarted
from nanoeval_recorder.reading.reader import open_record, parse_event, record_files

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
    """The records in `folder`, newest first; files that begin like none are left out."""
    found = [outline for file in record_files(folder) if (outline := _if_there(file)) is not None]
    return sorted(found, key=lambda outline: -outline.modified_at)


def _if_there(file: Path) -> Outline | None:
    try:
        return outline_of(file)
    except OSError:  # gone since the folder was listed
        return None


def outline_of(file: Path) -> Outline | None:
    """The outline of one record; None when it does not begin as one does."""
    with open_record(file) as lines:
        first = _event(lines.readline())
    if not isinstance(first, RunStarted):
        return None
    stem, suffix = split_name(file)
    is_rotated = file.with_name(f"{stem}.0001{suffix}").exists()
    last_file = existing_parts(file)[-1][1] if is_rotated else file
    last = _event(_last_line(last_file))
    report = last.data if isinstance(last, FinalReport) and isinstance(last.data, dict) else None
    return Outline(file, first, report, last_file.stat().st_mtime)


def _event(line: bytes) -> Event | None:
    try:
        return parse_event(line)
    except (ValueError, AttributeError, TypeError):  # half written, or not ours
        return None


def _last_line(file: Path) -> bytes:
    if file.suffix in (".zst", ".gz"):
        last = b""
        with open_record(file) as lines, contextlib.suppress(DamagedRecord):
            for line in lines:
                last = line
        return last
    with file.open("rb") as lines:
        size = end = lines.seek(0, 2)
        tail = b""
        while end > 0 and b"\n" not in tail.rstrip(b"\n"):
            start = max(0, size - 2 * (size - end) - TAIL)
            lines.seek(start)
            tail, end = lines.read(size - start), start
    return tail.rstrip(b"\n").rpartition(b"\n")[2]
