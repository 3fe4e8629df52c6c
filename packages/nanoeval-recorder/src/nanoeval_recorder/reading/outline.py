"""What the first and the last line of a record say: enough to list many, without reading them."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import re
from collections import deque
from pathlib import Path
from typing import Any

from nanoeval_core.run_facts import RunFacts

from nanoeval_recorder.reading._open import DamagedRecord
from nanoeval_recorder.reading.events import Event, FinalReport, RunStarted
from nanoeval_recorder.reading.reader import first_event, open_record, parse_event, record_parts

__all__ = ["Outline", "outline_of"]

TAIL = 1 << 16
_LARGE = 1 << 53
_TIME = re.compile(rb'"(?:created_at|timestamp)": ?"([0-9T:.+Z -]{10,40})"')


@dataclasses.dataclass(frozen=True, slots=True)
class Outline:
    """A record, in short.

    Attributes:
        path: the record, or its first part.
        started: its first line: what was run.
        final_report: what its last line reports; None when the run has not finished.
        modified_at: when its file was last written, in seconds since the epoch.
        last_at: the time of its last event, where that is known: a copy was written later.
    """

    path: Path
    started: RunStarted
    final_report: dict[str, Any] | None
    modified_at: float
    last_at: float | None = None

    @property
    def run_id(self) -> str:
        return self.started.run_id or self.path.stem

    def facts(self) -> RunFacts:
        """Return what the record says of its run."""
        started, spec, report = self.started, self.started.spec, self.final_report or {}
        config = _dict(spec.get("run_config"))
        usage, errors = _dict(report.get("usage")), _dict(report.get("system_errors"))
        created = _seconds(started.created_at or spec.get("created_at"))
        end = self.modified_at
        if self.last_at is not None and created is not None and self.last_at > created:
            end = self.last_at
        total = _count(config.get("num_tasks")) or _count(report.get("num_tasks"))
        prompts = _count(usage.get("prompt_tokens")) or 0
        replies = _count(usage.get("completion_tokens")) or 0
        cost = usage.get("cost")
        return RunFacts(
            run_id=self.run_id,
            run_set_id=str(started.run_set_id or ""),
            eval=str(started.eval_name or self.path.stem),
            model="" if started.model in (None, "unknown") else started.model,
            state="died" if self.final_report is None else "done",
            created_at=self.modified_at if created is None else created,
            seconds=None if created is None else max(0.0, end - created),
            done=None if self.final_report is None else total,
            total=total,
            errors=_count(errors.get("total")) or 0,
            tokens=prompts + replies,
            cost=float(cost) if isinstance(cost, (int, float)) and abs(cost) < _LARGE else 0.0,
            summary=report,
            part_of=str(_dict(_dict(config.get("runner")).get("args")).get("eval_set_name") or ""),
        )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if type(value) is int and abs(value) < _LARGE else None


def _seconds(value: Any) -> float | None:
    """Return a time of a record in seconds since the epoch; None for anything else."""
    try:
        found = datetime.datetime.fromisoformat(value)
        if found.tzinfo is None:  # the published package writes UTC and does not say so
            found = found.replace(tzinfo=datetime.UTC)
        return found.timestamp()
    except (ValueError, TypeError, OverflowError):
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
    end = _end_of(last_file)
    last = _event(end.rpartition(b"\n")[2])
    if not isinstance(last, FinalReport) and first.run_set_id is None:
        last = _event(_line_of_report(last_file))
    report = last.data if isinstance(last, FinalReport) and isinstance(last.data, dict) else None
    if report is not None and report.get("partial"):
        report = None
    times = _TIME.findall(end)
    last_at = _seconds(times[-1].decode()) if times else None
    return Outline(file, first, report, last_file.stat().st_mtime, last_at)


def _event(line: bytes) -> Event | None:
    try:
        return parse_event(line)
    except ValueError:  # half written, or not ours
        return None


def _end_of(file: Path) -> bytes:
    """Return a record's last line, and what of the lines before it was read with it."""
    if file.suffix in (".zst", ".gz"):
        last: deque[bytes] = deque(maxlen=2)
        with open_record(file) as lines, contextlib.suppress(DamagedRecord):
            last.extend(lines)
        return b"".join(last).rstrip(b"\n")
    with open_record(file) as lines:
        size = end = lines.seek(0, 2)
        tail = b""
        while end > 0 and b"\n" not in tail.rstrip(b"\n"):
            start = max(0, size - 2 * (size - end) - TAIL)
            lines.seek(start)
            tail, end = lines.read(size - start), start
    return tail.rstrip(b"\n")


def _line_of_report(file: Path) -> bytes:
    """Return the final report of a record of the evals package, which may precede events."""
    with open_record(file) as lines, contextlib.suppress(DamagedRecord):
        return next((line for line in lines if line.startswith(b'{"final_report"')), b"")
    return b""
