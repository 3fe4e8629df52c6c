"""What stand-ins for models share: the same seed gives the same answers, in whatever order and in
however many executors."""

from __future__ import annotations

import asyncio
import random

import chz
from nanoeval_core.errors import ConfigError, RolloutSystemError
from nanoeval_core.recorder import get_recorder
from nanoeval_core.task import Task


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
        where = type(self).__name__
        for name in ("accuracy", "failure_rate", "unparsable_rate", "agreement"):
            value = getattr(self, name, 0.0)
            if not 0 <= value <= 1:
                raise ConfigError(f"{where}.{name}={value}: give a number from 0 to 1")
        if self.latency < 0:
            raise ConfigError(f"{where}.latency={self.latency}: give seconds, 0 or more")

    async def _attempt(self, task: Task) -> random.Random:
        """Take the time of an attempt, fail as often as asked, and return its random generator.

        Raises:
            RolloutSystemError: by chance, drawn again at each retry.
        """
        chance = random.Random(f"{self.seed}:{task.name}:{task.retry_idx}:fate")
        if self.latency:
            await asyncio.sleep(chance.expovariate(1 / self.latency))
        if chance.random() < self.failure_rate:
            raise RolloutSystemError(
                f"the mock solver failed, as failure_rate={self.failure_rate} asks"
            )
        return random.Random(f"{self.seed}:{task.name}")


def record_mock_reply(question: str, answer: str | None) -> None:
    """Record the reply of a stand-in; None is one without an answer."""
    said = "I cannot tell." if answer is None else f"Answer: {answer}"
    get_recorder().record_sampling(question, [said], model="mock")
