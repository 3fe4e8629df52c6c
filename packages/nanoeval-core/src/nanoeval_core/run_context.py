"""What code inside an executor may know about the run it is part of."""

from __future__ import annotations

import dataclasses
from contextvars import ContextVar
from pathlib import Path


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """The run that the calling code is part of.

    Attributes:
        run_set_id: names the state file.
        shared_dir: a private folder, on this host, that all executors of the run set share;
            solvers meet there (rate limits, caches). It goes with the state file.
        executor: this executor's name, such as `main` or `pool-2`.
        gauges: live numbers by name (a rate limit in force, …) that the executor publishes with
            each heartbeat, and texts that say why nothing moves ("calls fail: connection refused");
            progress and the monitor show them.
    """

    run_set_id: str
    shared_dir: Path
    executor: str
    slot: int = 0
    gauges: dict[str, float | str] = dataclasses.field(default_factory=dict)


current_run_context: ContextVar[RunContext | None] = ContextVar(
    "nanoeval_run_context", default=None
)
"""Executors set it once, for each eval's task and those it starts."""


def get_run_context() -> RunContext | None:
    """Return the current run; None outside of one (a unit test calling a solver directly)."""
    return current_run_context.get()


__all__ = ["RunContext", "current_run_context", "get_run_context"]
