"""`python -m nanoeval.bin.concurrency limit=…`: how much of a running eval runs at once."""

from __future__ import annotations

import sys
from typing import Literal

from nanoeval_core.errors import ConfigError
from nanoeval_runner.state_files import read_state_file, set_concurrency

from nanoeval_cli._run_sets import find_state_file


async def concurrency(run_set_id: str, set: int) -> None:
    """Set how many tasks of a running run set may be in flight, over all its evals."""
    await main(run_set_id=run_set_id, set=set)


async def main(
    limit: int | Literal["none"] | None = None,
    run_set_id: str | None = None,
    eval: str | None = None,
    overall: bool = False,
    set: int | None = None,
) -> None:
    """Show the limits of a run set, or set them while it runs.

    Without `limit` they are only shown; `limit=none` lifts one. It is set for all evals of the
    run set, for one (`eval=NAME`), or for the sum of all (`overall=True`, or `set=N` in short). By
    default the run set is the newest.
    """
    if set is not None:
        if limit is not None:
            raise ConfigError(f"set={set} contradicts limit={limit}: leave one of them out")
        limit, overall = set, True
    if isinstance(limit, int) and limit <= 0:
        raise ConfigError(f"limit={limit}: give a positive number, or none")
    if overall and eval is not None:
        raise ConfigError(f"eval={eval!r} contradicts overall=True: leave one of them out")
    path = find_state_file(run_set_id)
    rows = read_state_file(path).evals
    chosen = [row.id for row in rows if eval in (None, row.name, row.run_id)]
    if not chosen:
        names = ", ".join(row.name for row in rows) or "none"
        raise ConfigError(f"eval={eval!r} is not in this run set; it holds {names}")
    if limit is not None:
        for eval_id in [None] if overall else chosen:
            set_concurrency(path, eval_id, limit if isinstance(limit, int) else None)
    now = read_state_file(path)
    for row in now.evals:
        _show(f"{row.name} ({row.state})", row.concurrency, row.leased)
    _show("all together", now.global_limit, sum(row.leased for row in now.evals))


def _show(what: str, limit: object, in_flight: int) -> None:
    limited = "unlimited" if limit is None else f"at most {limit}"
    sys.stdout.write(f"{what}: {limited}, {in_flight} in flight\n")


__all__ = ["concurrency", "main"]
