"""`nanoeval resume`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nanoeval_runner import resume
from nanoeval_runner.formats import format_seconds
from nanoeval_runner.setup import nanoeval_logging, raise_file_limit
from nanoeval_runner.state_files import backups, state_files

from nanoeval_cli._catalogue import all_runs
from nanoeval_cli._command import Parser
from nanoeval_cli._commands.run_command import add_budget
from nanoeval_cli._output import describe, note, write, write_json, write_table

HEADER = ("run set", "evals", "state", "tasks", "time")


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "resume",
        "Finish a run set: only tasks without a result run. Without a name, list what can be\n"
        "resumed. `nanoeval show RUN` says which run set a run is of.",
    )
    parser.add_argument("run", nargs="?", help="run set, or a run of it; `last` is the newest")
    parser.add_argument(
        "--recompute",
        action="store_true",
        help="also recompute the summaries of evals that are complete",
    )
    add_budget(parser)
    parser.add_json()
    asked = parser.parse_args(arguments)
    if asked.run is None:
        return _list(as_json=asked.json)
    with nanoeval_logging():
        raise_file_limit()
        summaries = asyncio.run(
            resume(
                _run_set_of(asked.run),
                resume_completed_evals=asked.recompute,
                budget_tokens=asked.budget_tokens,
                budget_cost=asked.budget_cost,
            )
        )
    if asked.json:
        write_json(summaries)
    else:
        for summary in summaries:
            for line in describe(summary):
                write(line)
    return 0


def _run_set_of(name: str) -> str:
    """The run set that `name` is, or that the run `name` is of."""
    runs, _ = all_runs()
    if name == "last":
        unfinished = [run for run in runs if run.state in ("stopped", "died", "failed")]
        return unfinished[0].run_set_id if unfinished else name
    for run in runs:
        if run.state_file is not None and name in (run.run_id, run.run_set_id):
            return run.run_set_id
    return name


def _list(*, as_json: bool) -> int:
    rows = []
    known = set()
    for found in state_files():
        if isinstance(found, Exception):
            note(f"warning: {found}")
            continue
        known.add(found.run_set_id)
        if found.is_complete or found.is_running or not found.evals:
            continue
        done, total = (
            sum(r.done + r.failed for r in found.evals),
            sum(r.total for r in found.evals),
        )
        states = dict.fromkeys(found.state_of(row) for row in found.evals if row.state != "done")
        names = ", ".join(dict.fromkeys(row.name for row in found.evals))
        elapsed = format_seconds(sum(row.elapsed for row in found.evals))
        rows.append([found.run_set_id, names, ", ".join(states), f"{done:,}/{total:,}", elapsed])
    lost = [path.stem for path in backups() if path.stem not in known]
    if as_json:
        write_json(
            {"run_sets": [dict(zip(HEADER, row, strict=True)) for row in rows], "backups": lost}
        )
        return 0
    if rows:
        write_table(HEADER, rows, right=("tasks", "time"))
        write("\nTo finish one: nanoeval resume RUN_SET")
    else:
        write("Nothing to resume: every run set here is complete or being run.")
    if lost:
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        write(f"Backups of run sets whose state is gone: {', '.join(lost[:5])}{more}")
    return 0
