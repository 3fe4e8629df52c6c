"""One run set that is going: its state file read once a second, and its records followed."""

from __future__ import annotations

import json
import logging
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nanoeval_core.errors import NanoevalError
from nanoeval_runner.state_files import EvalRow, ExecutorRow, StateFile, StateReader

from nanoeval_monitor._failure_kinds import FailureKinds
from nanoeval_monitor._live_history import History, Point, quantile
from nanoeval_monitor._process_memory import resident_bytes
from nanoeval_monitor._record_index import RecordIndex
from nanoeval_monitor._run_summary import score_of

log = logging.getLogger("nanoeval.monitor")

SILENT_SECONDS = 20.0
"""After how long without a heartbeat a run set counts as abandoned."""

FAILURES_A_TICK = 2000
INDEX_SECONDS = 0.3
LATENCY_WINDOW = 5.0
LATENCY_SPAN = 5000
STUCK = 20

Open = Callable[[Path], RecordIndex]


class LiveRunSet:
    """What the page shows of one state file. `tick` reads it; all else is derived from that.

    Args:
        file: the state file.
        open_index: gives the index of a record.
    """

    def __init__(self, file: Path, open_index: Open) -> None:
        self.file = file
        self._open_index = open_index
        self._histories: dict[int, History] = {}
        self._failures: dict[int, FailureKinds] = {}
        self._failed_after = (0.0, 0)
        self.view: dict[str, Any] = {}

    @property
    def is_going(self) -> bool:
        return bool(self.view) and self.view["state"] == "going"

    def tick(self, now: float | None = None) -> dict[str, Any]:
        """Read the state file and bring `view` up to date.

        The file is open only meanwhile: the last to close it tidies up after the run, and that
        must be the run.
        """
        now = time.time() if now is None else now
        with StateReader(self.file) as reader:
            snapshot = reader.read()
            self._read_failures(reader)
            durations = [
                reader.durations(row, since=now - LATENCY_WINDOW, span=LATENCY_SPAN)
                for row in snapshot.evals
            ]
        evals = [
            self._eval(row, seconds, now)
            for row, seconds in zip(snapshot.evals, durations, strict=True)
        ]
        executors = [_executor(row, now) for row in snapshot.executors]
        self.view = {
            "run_set_id": snapshot.run_set_id,
            "now": now,
            "state": _state(snapshot, now, changed_at(self.file) / 1e9),
            "global_limit": snapshot.global_limit,
            "evals": evals,
            "executors": executors,
            "stuck": _stuck(executors),
        }
        return self.view

    def histories(self) -> dict[str, list[list[Any]]]:
        """By eval id, all points so far: what a page that was just opened starts with."""
        return {
            str(eval_id): [point.as_list() for point in history.points]
            for eval_id, history in self._histories.items()
        }

    def _read_failures(self, reader: StateReader) -> None:
        for failed in reader.failures(after=self._failed_after, limit=FAILURES_A_TICK):
            self._failed_after = (failed.finished_at, failed.task_id)
            self._failures.setdefault(failed.eval_id, FailureKinds()).add(failed)

    def _eval(self, row: EvalRow, seconds: list[float], now: float) -> dict[str, Any]:
        score, record = self._score(row)
        usage = {name: getattr(row.usage, name) for name in row.usage.__slots__}
        point = Point(
            at=now,
            done=row.done,
            failed=row.failed,
            retries=row.retries,
            in_flight=row.leased,
            tokens=row.usage.total_tokens,
            p50=quantile(seconds, 0.5),
            p95=quantile(seconds, 0.95),
            score=score.get("mean"),
            low=score.get("low"),
            high=score.get("high"),
        )
        history = self._histories.setdefault(row.id, History())
        if row.state == "running" or not history.points:
            history.add(point)
        failures = self._failures.get(row.id)
        return {
            "id": row.id,
            "name": row.name,
            "run_id": row.run_id,
            "model": row.model_name,
            "state": row.state,
            "concurrency": row.concurrency,
            "total": row.total,
            "queued": row.queued,
            "in_flight": row.leased,
            "done": row.done,
            "failed": row.failed,
            "retries": row.retries,
            "created_at": row.created_at,
            "elapsed": row.elapsed,
            "usage": usage,
            "score": score or None,
            "record": record,
            "summary": _parsed(row.summary),
            "errors": failures.as_rows() if failures else [],
            "point": point.as_list(),
        }

    def _score(self, row: EvalRow) -> tuple[dict[str, Any], bool]:
        """The running score from the eval's record, and whether there is one that can be read."""
        record = record_of(row)
        if record is None or not record.exists():
            return {}, False
        try:
            index = self._open_index(record)
            index.update(INDEX_SECONDS)
            return score_of(index), True
        except (NanoevalError, OSError, sqlite3.Error) as error:
            log.warning("record %s cannot be followed: %s", record, error)
            return {}, False


def changed_at(file: Path) -> int:
    """When a state file was last written, in nanoseconds: its own time, or its log's."""
    log_file = file.with_name(f"{file.name}-wal")
    times = [one.stat().st_mtime_ns for one in (file, log_file) if one.exists()]
    return max(times, default=0)


def record_of(row: EvalRow) -> Path | None:
    """The record of an eval, where its recorder has said so in the state file."""
    position = _parsed(row.record_position)
    path = position.get("path") if isinstance(position, dict) else None
    return Path(path) if isinstance(path, str) else None


def _parsed(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


def _state(snapshot: StateFile, now: float, written_at: float) -> str:
    """`going`, `over`, or `silent`: evals should be running and nobody says so.

    Before the first executor there is the file's own time: an eval may queue tasks for long.
    """
    if snapshot.evals and all(row.state not in ("queued", "running") for row in snapshot.evals):
        return "over"
    beats = [row.heartbeat_at for row in snapshot.executors if row.state == "running"]
    beats += [row.created_at for row in snapshot.evals]
    return "going" if now - max([*beats, written_at]) < SILENT_SECONDS else "silent"


def _executor(row: ExecutorRow, now: float) -> dict[str, Any]:
    local = row.host == socket.gethostname()
    running = _parsed(row.running)
    return {
        "name": row.name,
        "kind": row.pool,
        "pid": row.pid,
        "host": row.host,
        "state": row.state,
        "heartbeat": max(0.0, now - row.heartbeat_at),
        "since": row.started_at,
        "in_flight": row.in_flight,
        "memory": resident_bytes(row.pid) if local and row.state == "running" else None,
        "gauges": _parsed(row.gauges) or {},
        "running": running if isinstance(running, list) else [],
        "commands": _commands(row, local=local),
    }


def _commands(row: ExecutorRow, *, local: bool) -> list[str]:
    """What to type to look into an executor, on its host."""
    away = "" if local else f"ssh {row.host} "
    gauges = _parsed(row.gauges) or {}
    port = gauges.get("aiomonitor_port") if isinstance(gauges, dict) else None
    lines = [f"{away}py-spy dump --pid {row.pid}"]
    if port:
        lines.append(f"{away}python -m aiomonitor.cli --port {int(port)}")
    if row.log:
        lines.append(f"{away}tail -n 100 -f {row.log}")
    return lines


def _stuck(executors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tasks that have been running longest, over all executors."""
    found = [
        {**task, "executor": executor["name"], "pid": executor["pid"]}
        for executor in executors
        for task in executor["running"]
        if isinstance(task, dict)
    ]
    found.sort(key=lambda task: -float(task.get("seconds") or 0))
    return found[:STUCK]
