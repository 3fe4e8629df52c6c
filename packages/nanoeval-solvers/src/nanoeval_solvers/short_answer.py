"""Questions answered in a few words: what they are, how they are asked and graded.

`ShortAnswerEval` asks `solver` for a text. Where the solver does not say whether it is right,
`grader` compares it with the question's reference answers.

As in `nanoeval_solvers.mcq`, an eval overrides `get_questions`, or `_get_tasks` to have question
`i` called `"<get_name()>.<i>"` and attempts numbered from 0.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

import chz
from nanoeval_core.asyncio_utils import HasAsyncContextManager
from nanoeval_core.errors import ConfigError
from nanoeval_core.recorder import get_recorder
from nanoeval_core.task import Task
from pydantic import BaseModel, field_validator, model_validator

from nanoeval_solvers._mocks import Mock, record_mock_reply
from nanoeval_solvers._questions import QuestionsEval, ReadAnswer, outcome_of_answer
from nanoeval_solvers.data import FromRows
from nanoeval_solvers.graders import ExactMatch, Grader, Verdict

if TYPE_CHECKING:
    from nanoeval_core.metrics.outcomes import Outcome

__all__ = [
    "Answer",
    "MockSolver",
    "Question",
    "ShortAnswerEval",
    "ShortAnswerSolver",
    "ShortAnswerTask",
]


class Question(FromRows, BaseModel):
    """A question with a short answer.

    Args:
        question: the text that is asked.
        metadata: carried along into the record, and what scores are grouped by.
        answers: the reference answers, any of which is right; one text is one answer. None are
            needed where the solver itself says what is right.
        id: the task's `question_id` (any text without `/`); by default the question's position
            in `ShortAnswerEval.get_questions`.
        images: shown with the question: `https://…` or `data:` URLs, or paths of image files.
    """

    question: str
    metadata: dict[str, Any] = {}
    answers: tuple[str, ...] = ()
    id: str | None = None
    images: tuple[str, ...] = ()

    @field_validator("answers", mode="before")
    @classmethod
    def _one_text_is_one_answer(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class ShortAnswerTask(Task):
    """One attempt at one `Question`."""

    question: Question


class Answer(ReadAnswer):
    """What a solver answered, and whether that is right. Subclass it to add fields.

    Args:
        answer: the text; empty without an answer.
        is_correct: whether it is right; None until it is graded.
        metadata: what the record should keep with it.
        problem: why there is no answer.
        verdict: the grader's, where one was asked.
        read_by: what the answer was read from, where it was read from a reply.
        truncated: the reply was cut off by the limit of tokens.
        only_reasoning: the reply was reasoning and no answer.
        followed_up: the model was asked once more, as its first reply held no answer.
    """

    answer: str
    is_correct: bool | None = None
    verdict: Verdict | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_answer_is_unparsable(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("answer", "") is None:
            return {"problem": "unparsable", **fields, "answer": ""}
        return fields

    @property
    def text(self) -> str | None:
        """The answer, or None without one."""
        return None if self.problem is not None else self.answer

    @property
    def correct(self) -> bool:
        """Whether it counts as correct."""
        return bool(self.is_correct)

    @property
    def outcome(self) -> Outcome | None:
        """What became of the attempt; None before it is graded."""
        if self.problem is None and self.is_correct is None:
            return None
        return outcome_of_answer(self.problem, self.correct)

    def score(self, question: Question) -> float:
        """Return 0 (wrong) or 1 (right)."""
        return float(self.correct)


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
class ShortAnswerEval(QuestionsEval[Question, ShortAnswerTask, Answer]):
    """An eval of short-answer questions. Override `get_name`, and `get_questions` or
    `_get_tasks`."""

    solver: ShortAnswerSolver = chz.field(doc="Answers the questions.")
    samples_per_question: int = chz.field(default=1, doc="Attempts at each question.")
    grader: Grader = chz.field(
        default_factory=ExactMatch, doc="Says whether an answer is right, if the solver does not."
    )
    n_consensus: int | None = chz.field(
        default=None, doc="Another name of samples_per_question, as MCQEval has it."
    )

    @chz.validate
    def _check_attempts(self) -> None:
        for name in ("samples_per_question", "n_consensus"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{type(self).__name__}.{name}={value}: give 1 or more")
        if self.n_consensus is not None and self.samples_per_question not in (1, self.n_consensus):
            raise ConfigError(
                f"{type(self).__name__}.n_consensus={self.n_consensus} and samples_per_question="
                f"{self.samples_per_question} are two names of one number: give one of them"
            )

    async def get_tasks(self) -> Sequence[ShortAnswerTask]:
        number = self.n_consensus or self.samples_per_question
        return [ShortAnswerTask(**fields) for fields in await self._attempts(number)]

    async def _context(self) -> AsyncGenerator[None, None]:
        async with self.solver, self.grader:
            yield

    async def evaluate(self, task: ShortAnswerTask) -> Answer:
        answer = await self.solver.solve(task)
        question = task.question
        if answer.text is not None and answer.is_correct is None and question.answers:
            verdict = await self.grader.grade(
                question.question, answer.text, question.answers, sample=task.name
            )
            graded = {"verdict": verdict, "is_correct": verdict.correct}
            answer = answer.model_copy(update=graded)
        elif answer.problem is not None and answer.is_correct is None:
            answer = answer.model_copy(update={"is_correct": False})
        self.record_answer(task, answer)
        return answer

    def record_answer(self, task: ShortAnswerTask, answer: Answer) -> None:
        """Record `answer` as a match: the question, and the reason where there is no answer."""
        question = task.question
        extra = answer._noted(question, always=self._is_numbered)
        extra["question"] = question.question
        if answer.verdict is not None:
            extra |= answer.verdict.record
        references: Any = list(question.answers) or None
        get_recorder().record_match(
            answer.correct,
            expected=references[0] if references and len(references) == 1 else references,
            picked=answer.text,
            **extra,
        )

    async def _summarize_answers(
        self, results: list[tuple[ShortAnswerTask, Answer]]
    ) -> dict[str, Any]:
        from nanoeval_solvers._summary import summarize_answers  # noqa: PLC0415  metrics

        graded = [(task, answer) for task, answer in results if answer.is_correct is not None]
        if results and not graded:
            reason = "no answer was graded: give questions reference answers, or let the solver"
            return {"accuracy": float("nan"), "unavailable": {"accuracy": reason}}
        return summarize_answers(graded, by=self.by)

    def process_invalid(self, task: ShortAnswerTask) -> Answer:
        return Answer(answer="dummy", is_correct=False)


@chz.chz
class MockSolver(Mock, ShortAnswerSolver):
    """Answers with a reference answer or with another text, without a model.

    The same seed gives the same answers, whatever the order and number of executors.
    """

    accuracy: float = chz.field(default=0.5, doc="The probability of a reference answer.")
    unparsable_rate: float = chz.field(
        default=0.0, doc="The probability of a reply that holds no answer."
    )

    async def solve(self, task: ShortAnswerTask) -> Answer:
        rng = await self._attempt(task)
        text = self._text(task.question, rng)
        record_mock_reply(task.question.question, text)
        return Answer(answer=text or "", problem="unparsable" if text is None else None)

    def _text(self, question: Question, rng: random.Random) -> str | None:
        right, unparsable = rng.random() < self.accuracy, rng.random() < self.unparsable_rate
        if unparsable:
            return None
        if not question.answers:
            return "a mock answer"
        return rng.choice(question.answers) if right else f"not {question.answers[0]}"
