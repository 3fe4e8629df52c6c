"""A grader without a model, for testing evals."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import chz
from nanoeval_core.errors import GraderError

from nanoeval_solvers.graders import ExactMatch, Grader, Verdict
from nanoeval_solvers.mcq import check_mock_rates


@chz.chz
class MockGrader(Grader):
    """Gives the verdict of an exact match, or by chance the opposite.

    The same seed gives the same verdicts; whether a try fails changes from try to try.
    """

    agreement: float = chz.field(
        default=1.0, doc="The probability that the verdict is that of an exact match."
    )
    seed: int = chz.field(default=0, doc="Decides which verdicts are given.")
    latency: float = chz.field(default=0.0, doc="Mean seconds per verdict, exponential.")
    failure_rate: float = chz.field(
        default=0.0, doc="The probability that a try ends in a system error."
    )

    @chz.validate
    def _check_rates(self) -> None:
        check_mock_rates(self)

    async def grade(
        self, question: str, answer: str, references: Sequence[str], *, sample: str
    ) -> Verdict:
        dice = random.Random(f"{self.seed}:{sample}:{answer}")
        agrees = dice.random() < self.agreement
        if self.latency:
            await asyncio.sleep(dice.expovariate(1 / self.latency))
        if random.random() < self.failure_rate:
            raise GraderError(
                f"the mock grader failed {sample!r}, as failure_rate={self.failure_rate} asks"
            )
        exact = ExactMatch().matches(answer, references)
        return Verdict(exact is agrees, exact=exact, record={"exact": exact})
