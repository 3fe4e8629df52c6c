"""`nanoeval sweep`."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from nanoeval_core.errors import ConfigError, RecorderError
from nanoeval_core.usage import Usage
from nanoeval_runner.budget import shared_budget
from nanoeval_runner.results import collecting, nanoeval_command, using_resume_command
from nanoeval_runner.setup import EXIT_BAD_INPUT, EXIT_BUDGET, EXIT_FAILED

from nanoeval_cli._command import budget_options, json_option, subcommand
from nanoeval_cli._commands.run_command import EvalCommand, errors_option, eval_argument
from nanoeval_cli._event_loop import loop_option, run_in_loop
from nanoeval_cli._output import bold, note, terminal_width, write, write_json
from nanoeval_cli._sweep import Cell, Ledger, make_cells, run_cells
from nanoeval_cli._sweep_table import SweepTable


@subcommand("sweep", cls=EvalCommand)
@eval_argument("evals", nargs=-1)
@click.option("--name", help="Of the sweep; by default its evals'.")
@click.option("-o", "--output", metavar="FOLDER", help="By default sweeps/NAME.")
@click.option("--again", is_flag=True, help="Run finished cells again.")
@click.option("--dry-run", is_flag=True, help="Only list the cells.")
@budget_options
@errors_option
@loop_option
@json_option
def command(  # noqa: PLR0913  one parameter an option
    *,
    evals: tuple[str, ...],
    name: str | None,
    output: str | None,
    again: bool,
    dry_run: bool,
    budget_tokens: int | None,
    budget_cost: float | None,
    fail_on_errors: float | None,
    loop: str,
    as_json: bool,
    fields: dict[str, str],
) -> int:
    """Run evals with several models or other arguments, and compare them in one table.

    \b
      nanoeval sweep my_eval.py:MyEval model=a,b,c
      nanoeval sweep evals.maths:Sums evals.maths:Products solver.temperature=0,1 runner.n_tasks=100

    Every comma makes another choice (\\, is a comma in a value; brackets and quotes hold theirs
    together). An argument that only some of the evals have is theirs alone. All cells run at once,
    sharing executors and one display. The table is written to the sweep's folder as table.md and
    table.csv; a cell that finished there is not run again when the sweep is repeated or extended,
    and one that was stopped goes on. A budget is the whole sweep's, finished cells included;
    runner.budget_tokens=N is each cell's own.
    """
    if not evals:
        raise ConfigError("which evals? Name them first: nanoeval sweep my_eval.py:MyEval …")
    cells = make_cells(evals, fields)
    named = "-".join(dict.fromkeys(cell.eval for cell in cells))
    name = name or re.sub(r"[^A-Za-z0-9_.-]+", "-", named)[:60].strip("-.") or "sweep"
    folder = Path(output) if output else Path("sweeps") / name
    ledger = Ledger(folder, name)
    spent = Usage()
    for cell in cells:
        if again:
            ledger.note(cell, state="queued", run_set_id=None)
        ledger.recall(cell)
        spent += cell.usage
    if dry_run:
        for cell in cells:
            write(f"{'done' if cell.summary else 'to run'}  {cell.eval}  {cell.label}")
        return 0
    pending = [cell for cell in cells if cell.summary is None]
    kept = len(cells) - len(pending)
    note(_overview(name, cells, kept))
    again_command = shlex.join([*shlex.split(nanoeval_command()), *sys.argv[1:]])
    with (
        using_resume_command(""),  # told once, below
        collecting(is_shown=False) as found,
        shared_budget(budget_tokens, budget_cost, before=spent),
    ):
        try:
            run_in_loop(run_cells(pending, ledger, name), loop)
        except (KeyboardInterrupt, SystemExit):
            note(f"To go on with the sweep: {again_command}")
            raise
    table = SweepTable(cells)
    with ledger.writing():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "table.md").write_text(table.markdown(), "utf-8")
        table.write_csv(folder / "table.csv")
    code = _report(cells, table, folder, kept, as_json=as_json)
    return code or found.exit_code(fail_on_errors)


def _overview(name: str, cells: Sequence[Cell], kept: int) -> str:
    evals = len({cell.eval for cell in cells})
    choices = len({cell.label for cell in cells})
    text = f"sweep {name}: {evals} eval{'s' * (evals > 1)} × {choices} choice{'s' * (choices > 1)}"
    text += f", {len(cells)} cell{'s' * (len(cells) > 1)}"
    return text + (f", {kept} of them done" if kept else "")


def _report(
    cells: Sequence[Cell], table: SweepTable, folder: Path, kept: int, *, as_json: bool
) -> int:
    if as_json:
        write_json(
            [
                {
                    "eval": cell.eval,
                    "choice": cell.label,
                    "run_id": (cell.summary or {}).get("run_id"),
                    "summary": cell.summary,
                    "error": cell.error or None,
                }
                for cell in cells
            ]
        )
    else:
        write("")
        for index, line in enumerate(table.text(bold, terminal_width())):
            write(bold(line) if index == 0 else line)
        write("\nScores with their standard errors; the best of each eval is in bold.")
    more = f"; {kept} of {len(cells)} cells were there already" if kept else ""
    note(f"{folder / 'table.md'} and table.csv have it with 95 % intervals{more}")
    stopped = [cell for cell in cells if cell.over_budget]
    failed = [cell for cell in cells if cell.problem and not cell.over_budget]
    for cell in failed:
        note(f"\n{cell.eval} {cell.label}".rstrip() + f": {cell.error}")
    if stopped:
        note(
            f"\n{stopped[0].error.partition(': ')[0]}: {len(stopped)} of {len(cells)} cells are "
            "stopped. The same command with a larger budget goes on with them"
        )
    if all(isinstance(cell.problem, (ConfigError, RecorderError)) for cell in cells):
        return EXIT_BAD_INPUT
    return EXIT_FAILED if failed else EXIT_BUDGET if stopped else 0
