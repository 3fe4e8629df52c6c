"""`nanoeval sweep`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

from nanoeval_core.errors import ConfigError
from nanoeval_runner.budget import shared_budget
from nanoeval_runner.setup import EXIT_BUDGET, EXIT_FAILED, nanoeval_logging, raise_file_limit

from nanoeval_cli._command import Parser
from nanoeval_cli._commands.run_command import add_budget, only_named
from nanoeval_cli._output import bold, note, terminal_width, write, write_json
from nanoeval_cli._sweep import Cell, Ledger, make_cells, run_cells, spent_by
from nanoeval_cli._sweep_table import SweepTable

USAGE = r"""Run evals with several models or other arguments, and compare them in one table.

  nanoeval sweep my_eval.py:MyEval solver.model=a,b,c
  nanoeval sweep evals.maths:Sums evals.maths:Products solver.temperature=0,1 runner.n_tasks=100

Every comma makes another choice (\, is a comma in a value; brackets and quotes hold theirs
together). All cells run at once, sharing executors and one display. The table is written to the
sweep's folder as table.md and table.csv; a cell that finished there is not run again when the
sweep is repeated or extended, and one that was stopped goes on. A budget is the whole sweep's,
finished cells included; runner.budget_tokens=N is each cell's own."""


def main(arguments: Sequence[str]) -> int:
    parser = Parser("sweep", USAGE, usage="nanoeval sweep EVAL… name=a,b,c … [options]")
    parser.add_argument("--name", help="of the sweep; by default its evals'")
    parser.add_argument("-o", "--output", metavar="FOLDER", help="by default sweeps/NAME")
    parser.add_argument("--again", action="store_true", help="run finished cells again")
    parser.add_argument("--dry-run", action="store_true", help="only list the cells")
    add_budget(parser)
    parser.add_json()
    asked, others = parser.parse_known_args(arguments)
    only_named(parser, others)
    targets = [one for one in others if "=" not in one]
    if not targets:
        raise ConfigError("which evals? Name them first: nanoeval sweep my_eval.py:MyEval …")
    cells = make_cells(targets, [one for one in others if "=" in one])
    name = asked.name or _name(cells)
    folder = Path(asked.output) if asked.output else Path("sweeps") / name
    ledger = Ledger(folder, name)
    if asked.again:
        for cell in cells:
            ledger.note(cell, state="queued", run_set_id=None)
    if asked.dry_run:
        for cell in cells:
            state = "done" if ledger.summary_of(cell.key) is not None else "to run"
            write(f"{state}  {cell.eval}  {cell.label}")
        return 0
    with nanoeval_logging():
        raise_file_limit()
        spent = spent_by(cells, ledger)
        with shared_budget(asked.budget_tokens, asked.budget_cost, before=spent):
            asyncio.run(run_cells(cells, ledger, name))
    table = SweepTable(cells)
    with ledger.writing():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "table.md").write_text(table.markdown(), "utf-8")
        table.write_csv(folder / "table.csv")
    return _report(cells, table, folder, as_json=asked.json)


def _name(cells: Sequence[Cell]) -> str:
    names = "-".join(dict.fromkeys(cell.eval for cell in cells))
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", names)[:60].strip("-.") or "sweep"


def _report(cells: Sequence[Cell], table: SweepTable, folder: Path, *, as_json: bool) -> int:
    if as_json:
        write_json(
            [
                {"eval": c.eval, "choice": c.label, "summary": c.summary, "error": c.error or None}
                for c in cells
            ]
        )
    else:
        write("")
        for index, line in enumerate(table.text(bold, terminal_width())):
            write(bold(line) if index == 0 else line)
        write("\nScores with their standard errors; the best of each eval is in bold.")
    kept = sum(cell.was_done for cell in cells)
    more = f"; {kept} of {len(cells)} cells were there already" if kept else ""
    note(f"{folder / 'table.md'} and table.csv have it with 95 % intervals{more}")
    stopped = [cell for cell in cells if cell.over_budget]
    failed = [cell for cell in cells if cell.error and not cell.over_budget]
    for cell in failed:
        note(f"\n{cell.eval} {cell.label}".rstrip() + f": {cell.error}")
    if stopped:
        note(
            f"\n{stopped[0].error.partition(': ')[0]}: {len(stopped)} of {len(cells)} cells are "
            "stopped. The same command with a larger budget goes on with them"
        )
    return EXIT_FAILED if failed else EXIT_BUDGET if stopped else 0
