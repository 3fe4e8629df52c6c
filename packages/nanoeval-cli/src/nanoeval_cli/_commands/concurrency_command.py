"""`nanoeval concurrency`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from nanoeval_core.errors import ConfigError
from nanoeval_runner.state_files import StateFile, read_state_file, set_concurrency

from nanoeval_cli._catalogue import find_run
from nanoeval_cli._command import Parser, positive
from nanoeval_cli._output import write_json, write_table


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "concurrency",
        "Show how many tasks of a run may be in flight, or change it while it runs.\n"
        "A run set names all its evals, a run only its own.",
    )
    parser.add_argument("run", nargs="?", help="run id, run set or eval; by default the newest")
    parser.add_argument("limit", nargs="?", type=_limit, help="a number, or none for no limit")
    parser.add_argument("--overall", action="store_true", help="limit all evals together")
    parser.add_json()
    asked = parser.parse_args(arguments)
    run = find_run(asked.run)
    if run.state_file is None:
        raise ConfigError(f"run {run.run_id} has no state any more: it is over")
    chosen = None if asked.run in (None, "last", run.run_set_id) else run.run_id
    if asked.limit is not None:
        value = None if asked.limit == "none" else asked.limit
        _set(run.state_file, chosen, value, overall=asked.overall)
    _show(read_state_file(run.state_file.path), as_json=asked.json)
    return 0


def _limit(text: str) -> int | Literal["none"]:
    return "none" if text == "none" else positive(text)


def _set(file: StateFile, run_id: str | None, limit: int | None, *, overall: bool) -> None:
    chosen = [row.id for row in file.evals if run_id in (None, row.run_id)]
    for eval_id in [None] if overall else chosen:
        set_concurrency(file.path, eval_id, limit)


def _show(file: StateFile, *, as_json: bool) -> None:
    limits = [
        {"run": row.run_id, "eval": row.name, "limit": row.concurrency, "in_flight": row.leased}
        for row in file.evals
    ]
    if as_json:
        write_json({"evals": limits, "overall": file.global_limit})
        return
    rows = [
        [str(one["run"]), str(one["eval"]), _text(one["limit"]), str(one["in_flight"])]
        for one in limits
    ]
    total = sum(row.leased for row in file.evals)
    if len(rows) > 1 or file.global_limit is not None:
        rows.append(["", "all together", _text(file.global_limit), str(total)])
    write_table(("run", "eval", "limit", "in flight"), rows, right=("limit", "in flight"))


def _text(limit: object) -> str:
    return "none" if limit is None else str(limit)
