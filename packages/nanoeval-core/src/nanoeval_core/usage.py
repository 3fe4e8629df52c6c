"""What an attempt spends on a model endpoint: reported by solvers, added up by the runner."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, Protocol


@dataclasses.dataclass(slots=True)
class Usage:
    """Counts of one attempt, one eval or one run; they add up with `+=`.

    `prompt_tokens` include the `cached_tokens`, `completion_tokens` include the
    `reasoning_tokens`, as endpoints report them. `cost` is in whatever unit the user's price
    table has; it stays 0 without one.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    retries: int = 0
    cache_hits: int = 0
    cost: float = 0.0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __iadd__(self, other: Usage) -> Usage:
        self.requests += other.requests
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.cached_tokens += other.cached_tokens
        self.reasoning_tokens += other.reasoning_tokens
        self.retries += other.retries
        self.cache_hits += other.cache_hits
        self.cost += other.cost
        return self


class UsageMeter(Protocol):
    """Where the calls of one attempt are counted: the attempt itself, in its executor."""

    def add(self, usage: Usage) -> None:
        """Count `usage` as spent by the attempt."""


current_usage_meter: ContextVar[UsageMeter | None] = ContextVar(
    "nanoeval_usage_meter", default=None
)


def report_usage(usage: Usage) -> None:
    """Add `usage` to the attempt that is running; outside of an attempt it goes nowhere."""
    meter = current_usage_meter.get()
    if meter is not None:
        meter.add(usage)


pause_clocks: ContextVar[Callable[[], AbstractContextManager[Any]]] = ContextVar(
    "nanoeval_pause_clocks", default=contextlib.nullcontext
)
"""Stops the clocks that limit an attempt's time: solvers set it, and what waits for its turn at an
endpoint enters what it returns, for the model has not been slow there."""


__all__ = ["Usage", "UsageMeter", "current_usage_meter", "pause_clocks", "report_usage"]
