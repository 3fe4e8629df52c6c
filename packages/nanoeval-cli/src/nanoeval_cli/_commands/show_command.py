"""`nanoeval show`."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from nanoeval_recorder.events import ErrorEvent
from nanoeval_recorder.reader import read
from nanoeval_runner.formats import format_count, format_score, format_seconds
from nanoeval_runner.run_log import log_file

from nanoeval_cli._catalogue import RunInfo, find_run
from nanoeval_cli._command import Parser
from nanoeval_cli._output import bold, describe, write, write_json, write_table

ERRORS_SHOWN = 10


def main(arguments: Sequence[str]) -> int:
    parser = Parser("show", "Show a run: what it was, its summary, its errors.")
    parser.add_argument("run", nargs="?", help="run id or its beginning, run set, eval, or record")
    parser.add_argument("--slowest", action="store_true", help="the tasks that run longest now")
    parser.add_json()
    asked = parser.parse_args(arguments)
    run = find_run(asked.run)
    slowest = list(_slowest(run)) if asked.slowest else []
    errors = _errors(run)
    if asked.json:
        found = {**run.as_dict(), "errors_by_message": errors.most_common()}
        write_json({**found, "slowest": slowest} if asked.slowest else found)
        return 0
    _show_run(run)
    if run.summary:
        write(bold("\nsummary") + (" (partial)" if run.summary.get("partial") else ""))
        hidden = ("run_id", "run_set_id", "partial")
        for line in describe({k: v for k, v in run.summary.items() if k not in hidden}, "  "):
            write(line)
    if errors:
        write(bold("\nerrors"))
        rows = [[f"{n:,}", text] for text, n in errors.most_common(ERRORS_SHOWN)]
        write_table(("times", "message"), rows, right=("times",))
    if asked.slowest:
        write(bold("\nslowest running tasks"))
        rows = [[s["task"], f"{s['seconds']:.0f} s", s["where"], s["executor"]] for s in slowest]
        write_table(("task", "for", "at", "executor"), rows or [["none runs", "", "", ""]])
    return 0


def _show_run(run: RunInfo) -> None:
    score, log = run.score, log_file(run.run_set_id or run.run_id)
    facts = {
        "run": run.run_id,
        "run set": run.run_set_id,
        "eval": run.eval,
        "model": run.model,
        "state": run.state,
        "started": datetime.datetime.fromtimestamp(run.created_at).strftime("%Y-%m-%d %H:%M:%S"),
        "time": "" if run.seconds is None else format_seconds(run.seconds),
        "tasks": "" if run.total is None else f"{run.done or 0:,} of {run.total:,}",
        "score": f"{score.name} {format_score(score.value, score.stderr)}" if score else "",
        "errors": f"{run.errors:,}" if run.errors else "",
        "retries": f"{run.retries:,}" if run.retries else "",
        "tokens": format_count(run.tokens) if run.tokens else "",
        "cost": f"{run.cost:.4g}" if run.cost else "",
        "hosts": ", ".join(run.hosts),
        "record": str(run.record or ""),
        "log": str(log) if log.exists() else "",
        "state file": str(run.state_file.path) if run.state_file else "",
    }
    for name, value in facts.items():
        if value:
            write(f"{name:<10}  {value}")
    logs = [[one.name, one.state, one.host, one.log] for one in run.executors if one.log]
    if logs:
        write(bold("\nexecutors"))
        write_table(("name", "state", "host", "output, on that host"), logs)
    if run.state_file and run.state in ("stopped", "died", "failed"):
        write(f"\nTo finish it: nanoeval resume {run.run_set_id}")


def _errors(run: RunInfo) -> Counter[str]:
    """How often each error was recorded, by its first line."""
    found: Counter[str] = Counter()
    if run.record is not None and run.record.exists():
        for event in read(run.record):
            if isinstance(event, ErrorEvent):
                message = (event.message or "").strip().partition("\n")[0]
                found[f"{event.error_type or 'error'}: {message}"] += 1
    return found


def _slowest(run: RunInfo) -> Iterator[dict[str, Any]]:
    for executor in run.state_file.executors if run.state_file else []:
        for attempt in json.loads(executor.running):
            yield {**attempt, "executor": executor.name}
