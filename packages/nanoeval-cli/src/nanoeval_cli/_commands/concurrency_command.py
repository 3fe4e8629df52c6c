"""`nanoeval concurrency`."""

from __future__ import annotations

from typing import Literal

import click
from nanoeval_core.errors import ConfigError
from nanoeval_runner.state_files import read_state_file, set_concurrency

from nanoeval_cli._command import complete_run, json_option, positive, subcommand
from nanoeval_cli._output import write_json, write_table
from nanoeval_cli._runs import find_run


def _limit(text: str) -> int | Literal["none"]:
    return "none" if text == "none" else positive(text)


@subcommand("concurrency")
@click.argument("run", required=False, shell_complete=complete_run)
@click.argument("limit", required=False, type=_limit)
@click.option("--overall", is_flag=True, help="Limit all evals together.")
@json_option
def command(
    run: str | None, limit: int | Literal["none"] | None, overall: bool, as_json: bool
) -> int:
    """Show how many tasks of a run may be in flight, or change it while it runs.

    \b
      nanoeval concurrency last            shows it
      nanoeval concurrency RUN 20          changes it; none lifts the limit

    A run set names all its evals, a run only its own.
    """
    found = find_run(run)
    if found.state_file is None:
        raise ConfigError(f"run {found.run_id} has no state any more: it is over")
    chosen = None if run in (None, "last", found.run_set_id) else found.run_id
    path = found.state_file.path
    evals = [row.id for row in found.state_file.evals if chosen in (None, row.run_id)]
    if limit is not None:
        for eval_id in [None] if overall else evals:
            set_concurrency(path, eval_id, None if limit == "none" else limit)
    file = read_state_file(path)
    limits = [
        {"run": row.run_id, "eval": row.name, "limit": row.concurrency, "in_flight": row.leased}
        for row in file.evals
    ]
    if as_json:
        write_json({"evals": limits, "overall": file.global_limit})
        return 0
    rows = [list(one.values()) for one in limits]
    if len(rows) > 1 or file.global_limit is not None:
        total = sum(row.leased for row in file.evals)
        rows.append(["", "all together", file.global_limit, total])
    shown = [["none" if cell is None else str(cell) for cell in row] for row in rows]
    write_table(("run", "eval", "limit", "in flight"), shown, right=("limit", "in flight"))
    return 0
