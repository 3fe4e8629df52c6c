"""What there is to say of a run, whether its state file or its record says it."""

from __future__ import annotations

import dataclasses
from typing import Any

from nanoeval_core.words import RunState

__all__ = ["RunFacts"]


@dataclasses.dataclass(kw_only=True)
class RunFacts:
    """One run of one eval, as far as it is known.

    Attributes:
        state: a word of `nanoeval_core.words`. A record without an end is of a run that died,
            unless a state file knows better.
        created_at: seconds since the epoch.
        seconds: how long it ran; None where that is not known.
        done: tasks with a result, lost ones among them.
        errors: lost tasks: their last attempt ended in a system error.
        summary: its summary; a partial one while it runs; empty without one.
        part_of: the sweep that it is a cell of, or the run whose replies it scores.
    """

    run_id: str
    run_set_id: str = ""
    eval: str = ""
    model: str = ""
    state: RunState = "died"
    created_at: float = 0.0
    seconds: float | None = None
    done: int | None = None
    total: int | None = None
    errors: int = 0
    retries: int = 0
    tokens: int = 0
    cost: float = 0.0
    summary: dict[str, Any] = dataclasses.field(default_factory=dict)
    part_of: str = ""

    def update(self, newer: RunFacts) -> None:
        """Take over what `newer` says, where it says anything."""
        for field in dataclasses.fields(RunFacts):
            value = getattr(newer, field.name)
            if value is not None and value != "" and value != {}:
                setattr(self, field.name, value)
