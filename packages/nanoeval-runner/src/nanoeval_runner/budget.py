"""Stops an eval, resumably, when it has spent its budget, or several when theirs is spent."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

from nanoeval_core.spec import RunnerArgs
from nanoeval_core.usage import Usage

from nanoeval_runner._queue import transactions

if TYPE_CHECKING:
    from nanoeval_runner._engine import Engine
    from nanoeval_runner._eval_run import EvalRun


@dataclasses.dataclass
class SharedBudget:
    """What several runs may spend together. `shared_budget` makes one.

    Attributes:
        tokens: how many, prompts and replies together; None for any number.
        cost: how much, in the price table's unit; None for any amount.
        before: what was spent before these runs.
    """

    tokens: int | None
    cost: float | None
    before: Usage
    _spent: dict[EvalRun, Usage] = dataclasses.field(default_factory=dict)

    def note(self, run: EvalRun, usage: Usage) -> None:
        """`run` has spent this much by now. Ends all of the runs once that is too much."""
        self._spent[run] = usage
        total = Usage()
        for one in (self.before, *self._spent.values()):
            total += one
        reason = _reached(total, self.tokens, self.cost)
        for spender in self._spent if reason is not None else ():
            _end(spender, f"{reason} by all runs together")


_shared: ContextVar[SharedBudget | None] = ContextVar("nanoeval_shared_budget", default=None)


@contextlib.contextmanager
def shared_budget(
    tokens: int | None = None, cost: float | None = None, *, before: Usage | None = None
) -> Iterator[None]:
    """Runs begun within the block stop, resumably, once they have spent this much together.

    Args:
        tokens: how many, prompts and replies together; None for any number.
        cost: how much, in the price table's unit; None for any amount.
        before: what was spent already, and counts too.
    """
    budget = SharedBudget(tokens, cost, before or Usage())
    token = _shared.set(budget if (tokens, cost) != (None, None) else None)
    try:
        yield
    finally:
        _shared.reset(token)


def has_budget(runner: RunnerArgs) -> bool:
    """Whether there is anything to watch for a run that is begun here with these arguments."""
    limits = (runner.budget_tokens, runner.budget_cost, _shared.get())
    return any(limit is not None for limit in limits)


def _reached(usage: Usage, tokens: int | None, cost: float | None) -> str | None:
    """What has been reached, in words; None while there is something left."""
    if tokens is not None and usage.total_tokens >= tokens:
        return f"{usage.total_tokens:,} tokens of budget_tokens={tokens:,} are spent"
    if cost is not None and usage.cost >= cost:
        return f"{usage.cost:.4g} of budget_cost={cost:g} is spent"
    return None


def _end(run: EvalRun, reason: str) -> None:
    run.over_budget = run.over_budget or reason
    run.over.set()


async def watch_budget(run: EvalRun, engine: Engine) -> None:
    """End `run` once its attempts have spent the budget, its own or the shared one.

    What is in flight goes on, so a run may spend a little more: what was already asked for.
    """
    runner, shared = run.spec.runner, _shared.get()
    while not run.over.is_set():
        changed = engine.changed
        row = await engine.store.call(transactions.get_eval, run.eval_id)
        if shared is not None:
            shared.note(run, row.usage)
        reason = _reached(row.usage, runner.budget_tokens, runner.budget_cost)
        if reason is not None:
            _end(run, reason)
            return
        await changed.wait()
