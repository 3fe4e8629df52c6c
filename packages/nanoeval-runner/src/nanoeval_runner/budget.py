"""What runs may spend, and their end, resumably, when it is spent."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import chz
from nanoeval_core.spec import EvalSpec
from nanoeval_core.usage import Usage

__all__ = ["SharedBudget", "current_budget", "reached", "shared_budget", "with_budget"]


@dataclasses.dataclass
class SharedBudget:
    """What several runs may spend together, and have spent. `shared_budget` makes one."""

    tokens: int | None
    cost: float | None
    before: Usage
    _spent: dict[Callable[[str], None], Usage] = dataclasses.field(default_factory=dict)

    def note(self, stop: Callable[[str], None], usage: Usage) -> None:
        """Note what the run that `stop` stops has spent; stop all of them once it is too much."""
        self._spent[stop] = usage
        total = Usage()
        for one in (self.before, *self._spent.values()):
            total += one
        reason = reached(total, self.tokens, self.cost)
        if reason is not None:
            for stop_one in self._spent:
                stop_one(f"{reason} by all runs together")


current_budget: ContextVar[SharedBudget | None] = ContextVar("nanoeval_shared_budget", default=None)
"""What runs begun here may spend together; None for no such limit."""


@contextlib.contextmanager
def shared_budget(
    tokens: int | None = None, cost: float | None = None, *, before: Usage | None = None
) -> Iterator[None]:
    """Have runs begun within the block stop, resumably, once they have spent this much together.

    Args:
        tokens: how many, prompts and replies together; None for any number.
        cost: how much, in the price table's unit; None for any amount.
        before: what was spent already, and counts too.
    """
    budget = SharedBudget(tokens, cost, before or Usage())
    token = current_budget.set(budget if (tokens, cost) != (None, None) else None)
    try:
        yield
    finally:
        current_budget.reset(token)


def with_budget(spec: EvalSpec, tokens: int | None, cost: float | None) -> EvalSpec:
    """Return `spec` with those of these budgets that are given, instead of its own."""
    budgets = {"budget_tokens": tokens, "budget_cost": cost}
    given = {name: value for name, value in budgets.items() if value is not None}
    return chz.replace(spec, runner=chz.replace(spec.runner, **given)) if given else spec


def reached(usage: Usage, tokens: int | None, cost: float | None) -> str | None:
    """Say in words which limit has been reached; None while there is something left."""
    if tokens is not None and usage.total_tokens >= tokens:
        return f"{usage.total_tokens:,} tokens of budget_tokens={tokens:,} are spent"
    if cost is not None and usage.cost >= cost:
        return f"{usage.cost:.4g} of budget_cost={cost:g} is spent"
    return None
