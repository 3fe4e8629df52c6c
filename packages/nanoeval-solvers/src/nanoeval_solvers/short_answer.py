"""Questions answered in a few words: what they are, how they are asked and graded.

`ShortAnswerEval` asks `solver` for a text and `grader` for a verdict; the record's `correct` is
the grader's.
"""

from __future__ import annotations

import dataclasses
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

import chz
from nanoeval_core.asyncio_utils import HasAsyncContextManager
from nanoeval_core.errors import ConfigError
from nanoeval_core.eval import Eval, RunningSummary
from nanoeval_core.recorder import get_recorder
from nanoeval_core.task import Task
from pydantic import BaseModel, ConfigDict, Field, field_validator

from nanoeval_solvers.graders import ExactMatch, Grader, Verdict
from nanoeval_solvers.mcq import Problem, check_mock_rates, mock_attempt, outcome_of_answer

if TYPE_CHECKING:
    from nanoeval_core.metrics.outcomes import Outcome


class Question(BaseModel):
    """A question with a short answer.

    Args:
        question: the text that is asked.
        answers: the reference answers, any of which is right; one text is one answer.
        id: the task's `question_id` (any text without `/`); by default the question's position
            in `ShortAnswerEval.get_questions`.
        images: shown with the question: `https://…` or `data:` URLs, or paths of image files.
        metadata: carried along for your own use.
    """

    model_config = ConfigDict(frozen=True)

    question: str
    answers: Sequence[str] = Field(min_length=1)
    id: str | None = None
    images: Sequence[str] = ()
    metadata: dict[str, Any] = {}

    @field_validator("answers", mode="before")
    @classmethod
    def _one_text_is_one_answer(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("answers", "images")
    @classmethod
    def _freeze(cls, value: Sequence[str]) -> tuple[str, ...]:
        return tuple(value)


class ShortAnswerTask(Task):
    """One attempt at one `Question`."""

    question: Question


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a solver answered, and once graded, whether that is right.

    Args:
        text: the answer; None when there is none.
        problem: why there is none; "unparsable" unless the solver says otherwise.
        verdict: the grader's; None until `ShortAnswerEval.evaluate` has asked it.
        truncated: the reply was cut off by the limit of tokens.
    """

    text: str | None
    problem: Problem | None = None
    verdict: Verdict | None = None
    truncated: bool = False

    def __post_init__(self) -> None:
        if self.text is None and self.problem is None:
            object.__setattr__(self, "problem", "unparsable")

    @property
    def correct(self) -> bool:
        return self.verdict is not None and self.verdict.correct

    @property
    def outcome(self) -> Outcome | None:
        """What became of the attempt; None before it is graded."""
        graded = None if self.verdict is None else self.verdict.correct
        return outcome_of_answer(self.problem, graded)


@chz.chz
class ShortAnswerSolver(HasAsyncContextManager, ABC):
    """A strategy that answers questions in a few words. Override `solve`."""

    @abstractmethod
    async def solve(self, task: ShortAnswerTask) -> Answer:
        """Answer `task.question`, recording what was asked and replied.

        Raises:
            RolloutSystemError: the system failed, not the model; the task is retried.
        """


@chz.chz
class ShortAnswerEval(Eval[ShortAnswerTask, Answer]):
    """An eval of short-answer questions. Override `get_name` and `get_questions`."""

    solver: ShortAnswerSolver = chz.field(doc="Answers the questions.")
    grader: Grader = chz.field(default_factory=ExactMatch, doc="Says whether an answer is right.")
    n_consensus: int = chz.field(default=1, doc="Attempts at each question.")

    @chz.validate
    def _check_n_consensus(self) -> None:
        if self.n_consensus < 1:
            raise ConfigError(
                f"{type(self).__name__}.n_consensus={self.n_consensus}: give 1 or more"
            )

    @abstractmethod
    async def get_questions(self) -> Sequence[Question]:
        """The questions, in any order, each with the `id` that records should show."""

    async def get_tasks(self) -> Sequence[ShortAnswerTask]:
        return [
            ShortAnswerTask(
                question_id=question.id if question.id is not None else str(index),
                attempt_id=attempt,
                question=question,
            )
            for index, question in enumerate(await self.get_questions())
            for attempt in range(1, self.n_consensus + 1)
        ]

    async def _context(self) -> AsyncGenerator[None, None]:
        async with self.solver, self.grader:
            yield

    async def evaluate(self, task: ShortAnswerTask) -> Answer:
        answer = await self.solver.solve(task)
        question = task.question
        if answer.text is not None:
            verdict = await self.grader.grade(
                question.question, answer.text, question.answers, sample=task.name
            )
            answer = dataclasses.replace(answer, verdict=verdict)
        extra: dict[str, Any] = {} if answer.verdict is None else dict(answer.verdict.record)
        if answer.problem is not None:
            extra["problem"] = answer.problem
        if answer.problem == "unparsable":
            extra["unparsable"] = True
        get_recorder().record_match(
            answer.correct,
            expected=question.answers[0] if len(question.answers) == 1 else list(question.answers),
            picked=answer.text,
            **extra,
        )
        return answer

    async def get_summary(self, results: list[tuple[ShortAnswerTask, Answer]]) -> dict[str, Any]:
        from nanoeval_solvers._summary import summarise_answers  # noqa: PLC0415  metrics

        return summarise_answers(results)

    def running_summary(self) -> RunningSummary | None:
        if type(self).get_summary is not ShortAnswerEval.get_summary:
            return None  # a subclass sums up in its own way, during the run too
        # Deferred: metrics are needed when there are results.
        from nanoeval_core.metrics.running_summary import RunningAccuracy  # noqa: PLC0415

        return RunningAccuracy(score=lambda task, answer: answer.correct)


@chz.chz
class MockSolver(ShortAnswerSolver):
    """Answers from the reference answers or beside them, without a model.

    The same seed gives the same answers, whatever the order and number of executors.
    """

    accuracy: float = chz.field(default=0.5, doc="The probability of a reference answer.")
    seed: int = chz.field(default=0, doc="Decides which answers are given.")
    latency: float = chz.field(default=0.0, doc="Mean seconds per answer, exponential.")
    failure_rate: float = chz.field(
        default=0.0, doc="The probability that an attempt ends in a system error, and is retried."
    )
    unparsable_rate: float = chz.field(
        default=0.0, doc="The probability of a reply that holds no answer."
    )

    @chz.validate
    def _check_rates(self) -> None:
        check_mock_rates(self)

    async def solve(self, task: ShortAnswerTask) -> Answer:
        dice = await mock_attempt(self, task)
        text = self._text(task.question, dice)
        get_recorder().record_sampling(
            task.question.question,
            ["I cannot tell." if text is None else f"Answer: {text}"],
            model="mock",
        )
        return Answer(text)

    def _text(self, question: Question, dice: random.Random) -> str | None:
        right, unparsable = dice.random() < self.accuracy, dice.random() < self.unparsable_rate
        if unparsable:
            return None
        return dice.choice(question.answers) if right else f"not {question.answers[0]}"
