"""`nanoeval show`."""

from __future__ import annotations

import datetime
import json
from collections import Counter

import click
from nanoeval_recorder.reading.events import ErrorEvent
from nanoeval_recorder.reading.reader import read
from nanoeval_runner.formats import format_count, format_score, format_seconds
from nanoeval_runner.results import metric_rows, problems
from nanoeval_runner.run_log import log_file

from nanoeval_cli._command import complete_run, json_option, subcommand
from nanoeval_cli._output import bold, describe, write, write_json, write_table
from nanoeval_cli._runs import RunInfo, find_run

ERRORS_SHOWN = 10


@subcommand("show")
@click.argument("run", required=False, shell_complete=complete_run)
@click.option("--all", "show_all", is_flag=True, help="The whole summary.")
@click.option("--slowest", is_flag=True, help="The tasks that run longest now.")
@json_option
def command(run: str | None, show_all: bool, slowest: bool, as_json: bool) -> int:
    """Show a run: what it was, its result, its errors."""
    found = find_run(run)
    executors = found.state_file.executors if slowest and found.state_file else []
    running = [{**a, "executor": one.name} for one in executors for a in json.loads(one.running)]
    errors = _errors(found)
    if as_json:
        shown = {**found.as_dict(), "errors_by_message": errors.most_common()}
        write_json({**shown, "slowest": running} if slowest else shown)
        return 0
    _show_run(found)
    if found.summary:
        write(bold("\nsummary") + (" (partial)" if found.summary.get("partial") else ""))
        if show_all:
            hidden = ("run_id", "run_set_id", "partial")
            shown = {k: v for k, v in found.summary.items() if k not in hidden}
            for line in describe(shown, "  "):
                write(line)
        else:
            rows = metric_rows(found.summary)
            write_table(("  metric", "value", "95 % interval"), [[f"  {m}", *r] for m, *r in rows])
            replies = problems(found.summary)
            if replies:
                write("  replies: " + ", ".join(f"{n:,} {what}" for what, n in replies.items()))
            write(f"  all of it: nanoeval show {found.run_id} --all")
    if errors:
        write(bold("\nerrors"))
        lines = [[f"{n:,}", text] for text, n in errors.most_common(ERRORS_SHOWN)]
        write_table(("times", "message"), lines, right=("times",))
    if slowest:
        write(bold("\nslowest running tasks"))
        rows = [[s["task"], f"{s['seconds']:.0f} s", s["where"], s["executor"]] for s in running]
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
    if run.state_file and run.total and run.state in ("stopped", "died", "failed"):
        write(f"\nTo finish it: nanoeval resume {run.run_set_id}")


def _errors(run: RunInfo) -> Counter[str]:
    """Return how often each error was recorded, by its first line."""
    found: Counter[str] = Counter()
    if run.record is not None and run.record.exists():
        for event in read(run.record):
            if isinstance(event, ErrorEvent):
                message = (event.message or "").strip().partition("\n")[0]
                found[f"{event.error_type or 'error'}: {message}"] += 1
    return found
