"""One run set that is going: its state file read once a second, and its records followed."""

from __future__ import annotations

import dataclasses
import heapq
import json
import logging
import socket
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nanoeval_core.errors import NanoevalError
from nanoeval_core.run_facts import RunFacts
from nanoeval_runner.results import resume_command
from nanoeval_runner.state_files import EvalRow, ExecutorRow, StateReader, record_of

from nanoeval_monitor._failure_kinds import FailureKinds
from nanoeval_monitor._live_history import History, Point, quantile
from nanoeval_monitor._process_memory import resident_bytes
from nanoeval_monitor._record_index import RecordIndex
from nanoeval_monitor._run_summary import score_of

log = logging.getLogger("nanoeval.monitor")

FAILURES_A_TICK = 2000
INDEX_SECONDS = 0.3
LATENCY_WINDOW = 5.0
LATENCY_SPAN = 5000
STUCK = 20
GOING = ("queued", "running")
STATES = ("running", "queued", "died", "failed", "stopped")
"""A run set is going while one of its evals is, else the worst of them."""
AS_STORED = (
    *("id", "name", "run_id", "concurrency", "total", "done", "failed", "retries"),
    *("created_at", "elapsed"),
)


class LiveRunSet:
    """What the page shows of one state file. `tick` reads it; all else is derived from that.

    Args:
        file: the state file.
        open_index: gives the index of a record.
    """

    def __init__(self, file: Path, open_index: Callable[[Path], RecordIndex]) -> None:
        self.file = file
        self._open_index = open_index
        self._histories: defaultdict[int, History] = defaultdict(History)
        self._failures: defaultdict[int, FailureKinds] = defaultdict(FailureKinds)
        self._failed_after = (0.0, 0)
        self.view: dict[str, Any] = {}

    def tick(self) -> None:
        """Read the state file and bring `view` up to date.

        The file is open only meanwhile: the process that closes it last tidies up after the run,
        and that must be the run.
        """
        now = time.time()
        with StateReader(self.file) as reader:
            snapshot = reader.read()
            for failed in reader.failures(after=self._failed_after, limit=FAILURES_A_TICK):
                self._failed_after = (failed.finished_at, failed.task_id)
                self._failures[failed.eval_id].add(failed)
            seconds = {
                row.id: reader.durations(row, since=now - LATENCY_WINDOW, span=LATENCY_SPAN)
                for row in snapshot.evals
            }
        evals = [
            self._eval(row, snapshot.facts_of(row), seconds[row.id], now) for row in snapshot.evals
        ]
        executors = [
            _executor(row, now, is_running=snapshot.is_running) for row in snapshot.executors
        ]
        running = (task for one in executors for task in one["running"])
        states = {row["state"] for row in evals}
        state = next((state for state in STATES if state in states), "done")
        self.view = {
            "run_set_id": snapshot.run_set_id,
            "now": now,
            "state": state,
            "resume": "" if state in (*GOING, "done") else resume_command(snapshot.run_set_id),
            "global_limit": snapshot.global_limit,
            "evals": evals,
            "executors": executors,
            "stuck": heapq.nlargest(STUCK, running, key=lambda task: task["seconds"]),
        }

    def histories(self) -> dict[int, list[Point]]:
        """Return all points so far, by eval id: what a page that was just opened starts with."""
        return {eval_id: history.points for eval_id, history in self._histories.items()}

    def _eval(
        self, row: EvalRow, facts: RunFacts, seconds: list[float], now: float
    ) -> dict[str, Any]:
        found = self._score(row)
        score = found or {}
        in_flight = row.leased if facts.state == "running" else 0
        point = Point(
            at=now,
            done=row.done,
            failed=row.failed,
            retries=row.retries,
            in_flight=in_flight,
            tokens=row.usage.total_tokens,
            p50=quantile(seconds, 0.5),
            p95=quantile(seconds, 0.95),
            score=score.get("mean"),
            low=score.get("low"),
            high=score.get("high"),
        )
        history = self._histories[row.id]
        if facts.state == "running" or not history.points:
            history.add(point)
        return {
            **{name: getattr(row, name) for name in AS_STORED},
            "model": row.model_name,
            "state": facts.state,
            "queued": row.queued + row.leased - in_flight,
            "in_flight": in_flight,
            "usage": dataclasses.asdict(row.usage),
            "score": score or None,
            "key": None if found is None else row.run_id,  # in the table of runs
            "summary": facts.summary,
            "errors": self._failures[row.id].as_rows(),
            "point": point,
        }

    def _score(self, row: EvalRow) -> dict[str, Any] | None:
        """Return the running score from the eval's record; None without one to read."""
        record = record_of(row)
        if record is None or not record.exists():
            return None
        try:
            index = self._open_index(record)
            index.update(INDEX_SECONDS)
            return score_of(index)
        except (NanoevalError, OSError, sqlite3.Error) as error:
            log.warning("record %s cannot be followed: %s", record, error)
            return None


def _executor(row: ExecutorRow, now: float, *, is_running: bool) -> dict[str, Any]:
    local = row.host == socket.gethostname()
    running = json.loads(row.running) if is_running else []
    state = row.state if is_running or row.state != "running" else "died"
    gauges = json.loads(row.gauges)
    return {
        "name": row.name,
        "kind": row.pool,
        "pid": row.pid,
        "host": row.host,
        "state": state,
        "heartbeat": max(0.0, now - row.heartbeat_at),
        "since": row.started_at,
        "in_flight": row.in_flight,
        "memory": resident_bytes(row.pid) if local and state == "running" else None,
        "gauges": gauges,
        "running": running,
        "commands": _commands(row, gauges.get("aiomonitor_port"), local=local),
    }


def _commands(row: ExecutorRow, port: Any, *, local: bool) -> list[str]:
    """Return what to type to look into an executor, on its host."""
    away = "" if local else f"ssh {row.host} "
    lines = [f"{away}py-spy dump --pid {row.pid}"]
    if port:
        lines.append(f"{away}python -m aiomonitor.cli --port {int(port)}")
    if row.log:
        lines.append(f"{away}tail -n 100 -f {row.log}")
    return lines
