"""Consensus: ask several times and take the answer that most replies give."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from typing import Any

import chz
from nanoeval_core.asyncio_utils import gather_results
from nanoeval_core.errors import ConfigError

from nanoeval_solvers.mcq import Answer, MCQSolver, MCQTask, Question, majority


@chz.chz
class ConsensusSolver(MCQSolver[Answer]):
    """Asks `solver` `n` times at once and takes the majority.

    Replies that name no choice have no vote; when none does, neither does the consensus. Where
    answers tie, the score is the expectation over a uniform choice among them, and `picked` is
    such a choice, the same in every run.

    Sample `i` of attempt `a` is asked as attempt `(a - 1)·n + i`, so that seeds differ and the
    response cache keeps samples apart.
    """

    solver: MCQSolver[Any] = chz.field(doc="Gives each sample.")
    n: int = chz.field(default=5, doc="Samples per question and attempt.")

    @chz.validate
    def _check_n(self) -> None:
        if self.n < 1:
            raise ConfigError(f"{type(self).__name__}.n={self.n}: give 1 or more")

    async def _context(self) -> AsyncGenerator[None, None]:
        async with self.solver:
            yield

    async def solve(self, task: MCQTask) -> Answer:
        first = (task.attempt_id - 1) * self.n + 1
        samples = [task.model_copy(update={"attempt_id": first + index}) for index in range(self.n)]
        answers = await gather_results(*map(self.solver.solve, samples))
        return consensus_of(answers, task.question, seed=task.name)


def consensus_of(answers: list[Answer], question: Question, *, seed: str) -> Answer:
    """Return the majority of `answers`; `seed` decides which of several is shown as picked."""
    winners = majority(answer.indices for answer in answers)
    unparsable = sum(answer.problem in ("unparsable", "empty") for answer in answers)
    if not winners:
        refused = [a.problem for a in answers if a.problem not in ("unparsable", "empty")]
        return question.answer(
            None,
            problem=refused[0] if len(refused) == len(answers) else "unparsable",
            num_unparsable_samples=unparsable,
        )
    return question.answer(
        random.Random(seed).choice(winners),
        tied=tuple(winners) if len(winners) > 1 else (),
        num_unparsable_samples=unparsable,
    )


__all__ = ["ConsensusSolver", "consensus_of"]
