"""`nanoeval ls`."""

from __future__ import annotations

import datetime
import itertools
import socket
from typing import get_args

import click
from nanoeval_core.errors import StateError
from nanoeval_core.words import RunState
from nanoeval_runner.formats import format_count, format_score, format_seconds

from nanoeval_cli._command import json_option, positive, subcommand
from nanoeval_cli._output import note, short_path, write, write_json, write_table
from nanoeval_cli._runs import RunInfo, runs_newest_first

NUMBERS = ("score", "tasks", "errors", "time", "tokens", "cost")
HEADER = ("run", "started", "eval", "model", "of", "state", *NUMBERS, "hosts", "record")
OPTIONAL = ("record", "hosts", "errors", "started", "of", "tokens", "model", "cost", "time")
"""What goes first where there is little room; `nanoeval show` has it."""
HOSTS_NAMED = 2


@subcommand("ls")
@click.argument("eval", required=False)
@click.option("-n", "--limit", type=positive, default=20, help="How many (20).")
@click.option("--all", "show_all", is_flag=True, help="All of them.")
@click.option(
    "--state",
    type=click.Choice(get_args(RunState)),
    metavar="STATE",
    help=f"Only those in it: {', '.join(get_args(RunState))}.",
)
@json_option
def command(eval: str | None, limit: int, show_all: bool, state: str | None, as_json: bool) -> int:
    """List runs, newest first; with EVAL, those whose eval or model has that in it."""
    wanted = (eval or "").lower()
    problems: list[StateError] = []
    matching = (
        run
        for run in runs_newest_first(problems, naming=wanted)
        if wanted in f"{run.eval} {run.model} {run.part_of}".lower() and state in (None, run.state)
    )
    shown = list(matching if show_all else itertools.islice(matching, limit))
    has_more = next(matching, None) is not None
    for problem in problems:
        note(f"warning: {problem}")
    if as_json:
        write_json([run.as_dict() for run in shown])
        return 0
    if not shown:
        note("no runs" + (" like that" if eval or state else " yet: nanoeval new"))
        return 0
    rows = [_row(run) for run in shown]
    left_out = write_table(HEADER, rows, right=NUMBERS, optional=OPTIONAL)
    if has_more:
        write(f"and older ones: nanoeval ls --all, or -n {2 * limit}")
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
        run.part_of,
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


def _hosts(hosts: list[str]) -> str:
    """Return where its executors ran, unless that was here alone."""
    if hosts == [socket.gethostname()]:
        return ""
    more = len(hosts) - HOSTS_NAMED
    return ", ".join(hosts[:HOSTS_NAMED]) + (f" and {more} more" if more > 0 else "")
