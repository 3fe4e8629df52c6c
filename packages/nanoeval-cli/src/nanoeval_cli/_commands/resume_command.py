"""`nanoeval resume`."""

from __future__ import annotations

import sys

import click
from nanoeval_core.errors import ConfigError
from nanoeval_core.recorder_protocol import check_run_set_id
from nanoeval_core.words import run_state
from nanoeval_runner import resume
from nanoeval_runner.formats import format_seconds
from nanoeval_runner.results import collecting
from nanoeval_runner.state_files import backups, may_be_resumed, state_files

from nanoeval_cli._command import budget_options, complete_run, json_option, subcommand
from nanoeval_cli._event_loop import loop_option, run_in_loop
from nanoeval_cli._output import note, write, write_json, write_table
from nanoeval_cli._runs import runs_newest_first

UNFINISHED = ("stopped", "died", "failed")
HEADER = ("run set", "evals", "state", "tasks", "time")


@subcommand("resume")
@click.argument("run", required=False, shell_complete=complete_run)
@click.option("--recompute", is_flag=True, help="Also sum up evals that are complete.")
@budget_options
@loop_option
@json_option
def command(
    run: str | None,
    recompute: bool,
    budget_tokens: int | None,
    budget_cost: float | None,
    loop: str,
    as_json: bool,
) -> int:
    """Finish a run set: only tasks without a result run.

    RUN is a run set or a run of it; `last` is the newest. Without it, list what can be resumed. A
    budget replaces the one that the evals were run with.
    """
    if run is None:
        return _list(as_json=as_json)
    run_set_id = _run_set_of(run)
    resumed = resume(
        run_set_id,
        resume_completed_evals=recompute,
        budget_tokens=budget_tokens,
        budget_cost=budget_cost,
    )
    with collecting(None if as_json else sys.stdout) as found:
        summaries = run_in_loop(resumed, loop)
    if as_json:
        write_json(summaries)
    elif not found.results:
        note(f"Nothing was left to do: run set {run_set_id} is complete. To look: nanoeval ls")
    return found.exit_code()


def _run_set_of(name: str) -> str:
    """Return the run set that `name` is, or that the run `name` is of."""
    if name == "last":
        unfinished = next((run for run in runs_newest_first() if run.state in UNFINISHED), None)
        if unfinished is None:
            raise ConfigError("nothing can be resumed: every run is complete or being run")
        return unfinished.run_set_id
    check_run_set_id(name)
    if may_be_resumed(name):
        return name
    found = next((run for run in runs_newest_first() if run.run_id == name), None)
    if found is None:
        raise ConfigError(
            f"there is no run set {name!r}, and no run of that name. What can be resumed: "
            "nanoeval resume"
        )
    if not may_be_resumed(found.run_set_id):
        raise ConfigError(
            f"run {name} cannot be resumed: the state of its run set {found.run_set_id} was "
            f"removed. Its record stays: nanoeval show {name}"
        )
    return found.run_set_id


def _list(*, as_json: bool) -> int:
    rows = []
    known = set()
    for found in state_files():
        if isinstance(found, Exception):
            note(f"warning: {found}")
            continue
        known.add(found.run_set_id)
        evals, total = found.evals, sum(row.total for row in found.evals)
        if found.is_complete or found.is_running or not total:
            continue
        done = sum(row.done + row.failed for row in evals)
        left = [row.state for row in evals if row.state != "done" or row.unrecorded]
        states = dict.fromkeys(run_state(state, is_running=False) for state in left)
        names = ", ".join(dict.fromkeys(row.name for row in evals))
        elapsed = format_seconds(sum(row.elapsed for row in evals))
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
