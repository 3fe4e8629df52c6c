"""`nanoeval ls`."""

from __future__ import annotations

import datetime
import socket
from collections.abc import Sequence

from nanoeval_runner.formats import format_count, format_score, format_seconds

from nanoeval_cli._catalogue import RunInfo, all_runs
from nanoeval_cli._command import Parser, positive
from nanoeval_cli._output import note, short_path, write, write_json, write_table

NUMBERS = ("score", "tasks", "errors", "time", "tokens", "cost")
HEADER = ("run", "started", "eval", "model", "state", *NUMBERS, "hosts", "record")
STATES = ("running", "done", "stopped", "failed", "died", "unfinished")
OPTIONAL = ("record", "hosts", "errors", "started", "tokens", "model", "cost", "time")
"""What goes first where there is little room; `nanoeval show` has it."""
HOSTS_NAMED = 2


def main(arguments: Sequence[str]) -> int:
    parser = Parser("ls", "List runs, newest first.")
    parser.add_argument("eval", nargs="?", help="only runs whose eval or model has this in it")
    parser.add_argument("-n", "--limit", type=positive, default=20, help="how many (20)")
    parser.add_argument("--all", action="store_true", help="all of them")
    parser.add_argument(
        "--state", choices=STATES, metavar="STATE", help=f"only those in it: {', '.join(STATES)}"
    )
    parser.add_json()
    asked = parser.parse_args(arguments)
    runs, problems = all_runs()
    for problem in problems:
        note(f"warning: {problem}")
    if asked.eval:
        wanted = asked.eval.lower()
        runs = [run for run in runs if wanted in f"{run.eval} {run.model}".lower()]
    if asked.state:
        runs = [run for run in runs if run.state == asked.state]
    shown = runs if asked.all else runs[: asked.limit]
    if asked.json:
        write_json([run.as_dict() for run in shown])
        return 0
    if not shown:
        note("no runs" + (" like that" if asked.eval or asked.state else " yet: nanoeval new"))
        return 0
    rows = [_row(run) for run in shown]
    left_out = write_table(HEADER, rows, right=NUMBERS, optional=OPTIONAL)
    if len(shown) < len(runs):
        write(f"and {len(runs) - len(shown)} older ones: nanoeval ls --all")
    if "record" in left_out:
        folders = dict.fromkeys(short_path(run.record.parent) for run in shown if run.record)
        write(f"records: {', '.join(folders)}; `nanoeval show RUN` names all there is of a run")
    return 0


def _row(run: RunInfo) -> list[str]:
    started = datetime.datetime.fromtimestamp(run.created_at)
    tasks = "" if run.total is None else f"{run.total:,}"
    if run.done is not None and run.done != run.total:
        tasks = f"{run.done:,}/{tasks}"
    score = run.score
    return [
        run.run_id,
        started.strftime("%b %d %H:%M"),
        run.eval,
        run.model,
        run.state,
        format_score(score.value, score.stderr) if score else "",
        tasks,
        format_count(run.errors) if run.errors else "",
        "" if run.seconds is None else format_seconds(run.seconds),
        format_count(run.tokens) if run.tokens else "",
        f"{run.cost:.4g}" if run.cost else "",
        _hosts(run.hosts),
        short_path(run.record) if run.record else "",
    ]


def _hosts(hosts: Sequence[str]) -> str:
    """Where its executors ran, unless that was here alone."""
    if list(hosts) == [socket.gethostname()]:
        return ""
    more = len(hosts) - HOSTS_NAMED
    return ", ".join(hosts[:HOSTS_NAMED]) + (f" and {more} more" if more > 0 else "")
