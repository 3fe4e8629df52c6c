"""Stops an eval, resumably, when it has spent its budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanoeval_core.spec import RunnerArgs
from nanoeval_core.usage import Usage

if TYPE_CHECKING:
    from nanoeval_runner.engine import Engine
    from nanoeval_runner.eval_run import EvalRun


def has_budget(runner: RunnerArgs) -> bool:
    return runner.budget_tokens is not None or runner.budget_cost is not None


def spent(usage: Usage, runner: RunnerArgs) -> str | None:
    """What has been reached, in words; None while there is something left."""
    if runner.budget_tokens is not None and usage.total_tokens >= runner.budget_tokens:
        return f"{usage.total_tokens:,} tokens of budget_tokens={runner.budget_tokens:,} are spent"
    if runner.budget_cost is not None and usage.cost >= runner.budget_cost:
        return f"{usage.cost:.4g} of budget_cost={runner.budget_cost:g} is spent"
    return None


async def watch_budget(run: EvalRun, engine: Engine) -> None:
    """End `run` once its attempts have spent the budget. Returns only then.

    What is in flight goes on, so a run may spend a little more: what was already asked for.
    """
    while True:
        changed = engine.changed
        row = await engine.store.get_eval(run.eval_id)
        reason = spent(row.usage, run.spec.runner)
        if reason is not None:
            run.over_budget = reason
            run.over.set()
            return
        await changed.wait()
