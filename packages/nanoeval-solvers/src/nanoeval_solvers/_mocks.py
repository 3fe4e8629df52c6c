"""What stand-ins for models share: the same seed gives the same answers, in whatever order and in
however many executors."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import chz
from nanoeval_core.errors import ConfigError, RolloutSystemError
from nanoeval_core.task import Task


def check_mock_rates(mock: Any) -> None:
    """Raise `ConfigError` unless the probabilities of a mock solver are some."""
    for name in ("accuracy", "failure_rate", "unparsable_rate", "agreement"):
        value = getattr(mock, name, 0.0)
        if not 0 <= value <= 1:
            raise ConfigError(f"{type(mock).__name__}.{name}={value}: give a number from 0 to 1")
    if mock.latency < 0:
        raise ConfigError(f"{type(mock).__name__}.latency={mock.latency}: give seconds, 0 or more")


async def mock_attempt(mock: Any, task: Task) -> random.Random:
    """Take a mock solver's time, fail as often as it should, and return the attempt's dice.

    Raises:
        RolloutSystemError: by chance, drawn again at each retry.
    """
    chance = random.Random(f"{mock.seed}:{task.name}:{task.retry_idx}:fate")
    if mock.latency:
        await asyncio.sleep(chance.expovariate(1 / mock.latency))
    if chance.random() < mock.failure_rate:
        raise RolloutSystemError(
            f"the mock solver failed, as failure_rate={mock.failure_rate} asks"
        )
    return random.Random(f"{mock.seed}:{task.name}")


@chz.chz
class Mock:
    """How long a stand-in takes, and how often it fails."""

    seed: int = chz.field(default=0, doc="Decides what is answered.")
    latency: float = chz.field(default=0.0, doc="Mean seconds per answer, exponential.")
    failure_rate: float = chz.field(
        default=0.0, doc="The probability that an attempt ends in a system error, and is retried."
    )

    @chz.validate
    def _check_rates(self) -> None:
        check_mock_rates(self)
