"""Multiple-choice questions: what they are, how they are asked, how answers are scored.

An eval is one small class. This one is complete:

    @chz.chz
    class Capitals(MCQEval):
        def get_name(self) -> str:
            return "capitals"

        async def get_questions(self) -> list[Question]:
            return [
                Question(id="fr", question="Capital of France?", answers=["Lyon", "Paris"],
                         correct_indices={1}),
            ]

    asyncio.run(nanoeval.run(EvalSpec(eval=Capitals(solver=MockSolver()))))

`MCQEval` does the rest: it shuffles the choices of each question from `seed`, makes `n_consensus`
tasks of it, asks `solver`, records each answer and sums them up.

An eval may override `_get_tasks` instead. Then choices keep their order, question `i` is
`"<get_name()>.<i>"`, attempts are numbered from 0, and records show indices in place of letters.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import chz
from nanoeval_core.asyncio_utils import HasAsyncContextManager
from nanoeval_core.errors import ConfigError
from nanoeval_core.recorder import get_recorder
from nanoeval_core.task import Task
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

from nanoeval_solvers._mocks import Mock, record_mock_reply
from nanoeval_solvers._questions import Problem, QuestionsEval, ReadAnswer, outcome_of_answer
from nanoeval_solvers._replies import ReadBy
from nanoeval_solvers._replies.letters import letter_of, letters_for
from nanoeval_solvers._templates import base64_url
from nanoeval_solvers.data import FromRows

if TYPE_CHECKING:
    from nanoeval_core.metrics.outcomes import Outcome

__all__ = [
    "Answer",
    "MCQEval",
    "MCQSolver",
    "MCQTask",
    "MockSolver",
    "Problem",
    "Question",
    "ReadBy",
    "majority",
    "outcome_of_answer",
]


class Question(FromRows, BaseModel):
    """A question with lettered choices.

    Args:
        question: the text that is asked, without the choices.
        answers: the texts of the choices, in the order in which they are shown; `choices` is
            another name of it.
        correct_indices: which of `answers` are right, from 0; `correct` is another name of it.
        image: an image in base64, shown with the question.
        seed: a hint for solvers that draw at random.
        metadata: carried along into the record, and what scores are grouped by, such as a subject.
        allow_multiple_choices: the answer is a set of choices, which scores only when it is
            exactly `correct_indices`. Otherwise one choice is picked, and any of them is right.
        id: the task's `question_id` (any text without `/`); by default the question's position
            in `MCQEval.get_questions`.
        images: more images: `https://…` or `data:` URLs, or paths of image files.
    """

    model_config = ConfigDict(populate_by_name=True)

    question: str
    answers: list[str] = Field(min_length=1, validation_alias=AliasChoices("answers", "choices"))
    correct_indices: set[int] = Field(validation_alias=AliasChoices("correct_indices", "correct"))
    image: str | None = None
    seed: int | None = 42
    metadata: dict[str, Any] = {}
    allow_multiple_choices: bool = False
    id: str | None = None
    images: tuple[str, ...] = ()

    @field_validator("correct_indices", mode="before")
    @classmethod
    def _one_index_is_a_set(cls, value: object) -> object:
        return {value} if isinstance(value, int) else value

    @model_validator(mode="after")
    def _check_choices(self) -> Self:
        wrong = sorted(i for i in self.correct_indices if not 0 <= i < len(self.answers))
        if wrong:
            raise ValueError(
                f"correct_indices {wrong} are outside of the {len(self.answers)} choices: "
                "count from 0"
            )
        return self

    @property
    def choices(self) -> tuple[str, ...]:
        """The texts of the choices, as `answers`."""
        return tuple(self.answers)

    @property
    def letters(self) -> tuple[str, ...]:
        """The choices' labels: A to Z, then AA, AB, …"""
        return letters_for(len(self.answers))

    @property
    def pictures(self) -> tuple[str, ...]:
        """All images, as URLs or paths."""
        return (*(() if self.image is None else (base64_url(self.image),)), *self.images)

    def is_right(self, picked: Iterable[int] | None) -> bool:
        """Return whether the picked choices are the right answer; None is not."""
        if picked is None:
            return False
        picked = frozenset(picked)
        if self.allow_multiple_choices:
            return picked == self.correct_indices
        return len(picked) == 1 and picked <= self.correct_indices

    def answer(self, picked: Iterable[int] | None, **fields: Any) -> Answer:
        """Return the answer that picks `picked`: an index, or a set where several may be picked."""
        if picked is None:
            return Answer(correct=False, picked=None, **fields)
        indices = set(picked)
        if not self.allow_multiple_choices and len(indices) != 1:
            raise ValueError(f"one choice is to be picked, got {sorted(indices)}")
        shown = indices if self.allow_multiple_choices else min(indices)
        return Answer(correct=self.is_right(indices), picked=shown, **fields)

    def show_picked(self, indices: Iterable[int] | int | None) -> str | list[str] | None:
        """Return `indices` as letters: one, or a list of them where several may be picked."""
        if indices is None:
            return None
        given = (indices,) if isinstance(indices, int) else sorted(indices)
        letters = [letter_of(index) for index in given]
        return letters[0] if len(letters) == 1 and not self.allow_multiple_choices else letters

    def permuted(self, order: Sequence[int]) -> Question:
        """Return the same question with its choices in the order of `order`, old indices by new."""
        return self.model_copy(
            update={
                "answers": [self.answers[old] for old in order],
                "correct_indices": {
                    new for new, old in enumerate(order) if old in self.correct_indices
                },
            }
        )

    def shuffled(self, seed: int | str) -> Question:
        """Return the same question with its choices in an order that depends on `seed` alone."""
        order = list(range(len(self.answers)))
        random.Random(seed).shuffle(order)
        return self.permuted(order)


class MCQTask(Task):
    """One attempt at one `Question`, its choices already in the order to show them in."""

    question: Question


class Answer(ReadAnswer):
    """What a solver made of a question. Subclass it to add fields.

    Args:
        correct: whether it counts as correct: the solver decides.
        picked: the index of the picked choice, or a set where several may be picked; None when
            there is no answer.
        metadata: what the record should keep with it.
        problem: why there is no answer; "unparsable" unless the solver says otherwise.
        read_by: what the pick was read from, where it was read from a reply.
        tied: the equally good answers when several are; the score is then the expectation over a
            uniform choice among them, and `picked` is such a choice, seeded.
        prob_correct: the probability that the solver gave to the correct answer, if it knows.
        prob_picked: the probability that it gave to `picked`: its confidence, if it knows.
        num_unparsable_samples: how many of the samples behind the answer named no choice.
        truncated: the reply was cut off by the limit of tokens.
        only_reasoning: the reply was reasoning and no answer.
        followed_up: the model was asked once more, as its first reply named no choice.
    """

    correct: bool
    picked: int | set[int] | None
    read_by: ReadBy | None = None
    tied: tuple[frozenset[int], ...] = ()
    prob_correct: float | None = None
    prob_picked: float | None = None
    num_unparsable_samples: int = 0

    @model_validator(mode="after")
    def _check_problem(self) -> Self:
        if self.picked is not None and self.problem is not None:
            raise ValueError(f"an answer that picked {self.picked} has no problem {self.problem!r}")
        if self.picked is None and self.problem is None:
            self.problem = "unparsable"
        return self

    @property
    def indices(self) -> frozenset[int] | None:
        """The picked choices as a set; None when there is no answer."""
        picked = self.picked
        if picked is None:
            return None
        return frozenset((picked,) if isinstance(picked, int) else picked)

    @property
    def outcome(self) -> Outcome:
        """What became of the attempt."""
        return outcome_of_answer(self.problem, self.correct)

    def score(self, question: Question) -> float:
        """Return 0 (wrong) to 1 (right): a fraction only when answers are tied."""
        if self.tied:
            return sum(question.is_right(one) for one in self.tied) / len(self.tied)
        return float(self.correct)


TAnswer = TypeVar("TAnswer", bound=Answer)


@chz.chz
class MCQSolver(Generic[TAnswer], ABC, HasAsyncContextManager):
    """A strategy that answers multiple-choice questions. Override `solve`.

    Override `_context` (an async generator that yields once) for what each executor must open
    before its first task.
    """

    @abstractmethod
    async def solve(self, task: MCQTask) -> TAnswer:
        """Answer `task.question`.

        Record what was asked and replied with `get_recorder().record_sampling`; the eval records
        the answer itself.

        Raises:
            RolloutSystemError: the system failed, not the model; the task is retried.
        """

    def compute_extra_metrics(
        self, results: list[tuple[MCQTask, TAnswer]], n_consensus: int
    ) -> dict[str, Any]:
        """Sum up what only this solver knows of its answers; called on a thread."""
        return {}


@chz.chz
class MCQEval(QuestionsEval[Question, MCQTask, Answer]):
    """An eval of multiple-choice questions. Override `get_name`, and `get_questions` or
    `_get_tasks`."""

    solver: MCQSolver[Any] = chz.field(doc="Answers the questions.")
    n_consensus: int = chz.field(
        default=1,
        doc="Attempts at each question; with several, the summary has pass@k and cons@k.",
    )
    seed: int = chz.field(default=0, doc="Decides the order in which choices are shown.")
    shuffle_choices: bool | None = chz.field(
        default=None,
        doc="Show each question's choices in a random order, the same in every run; by default "
        "those of get_questions, not those of _get_tasks.",
    )

    @chz.validate
    def _check_n_consensus(self) -> None:
        if self.n_consensus < 1:
            raise ConfigError(
                f"{type(self).__name__}.n_consensus={self.n_consensus}: give 1 or more"
            )

    async def get_tasks(self) -> Sequence[MCQTask]:
        return [MCQTask(**fields) for fields in await self._attempts(self.n_consensus)]

    def _as_shown(self, name: str, question: Question) -> Question:
        shuffles = self.shuffle_choices
        shuffles = not self._is_numbered if shuffles is None else shuffles
        return question.shuffled(f"{self.seed}:{name}") if shuffles else question

    async def _context(self) -> AsyncGenerator[None, None]:
        async with self.solver:
            yield

    async def evaluate(self, task: MCQTask) -> Answer:
        answer: Answer = await self.solver.solve(task)
        check_picked(task, answer)
        self.record_answer(task, answer)
        return answer

    def record_answer(self, task: MCQTask, answer: Answer) -> None:
        """Record `answer` as a match, with the choices as shown, and why there is no pick."""
        question = task.question
        extra = answer._noted(question, always=self._is_numbered)
        if answer.tied:
            extra["tied"] = [question.show_picked(one) for one in answer.tied]
            extra["score"] = answer.score(question)
        if answer.num_unparsable_samples:
            extra["num_unparsable_samples"] = answer.num_unparsable_samples
        if answer.prob_picked is not None:
            extra["prob_picked"] = answer.prob_picked
        expected: Any = question.show_picked(question.correct_indices)
        picked: Any = question.show_picked(answer.picked)
        if self._is_numbered:
            expected = list(question.correct_indices)
            picked = list(answer.picked) if isinstance(answer.picked, set) else answer.picked
            if isinstance(picked, list) and len(picked) == 1:
                (picked,) = picked
        else:
            choices = dict(zip(question.letters, question.answers, strict=True))
            extra |= {"question": question.question, "choices": choices}
        get_recorder().record_match(
            answer.correct,
            expected=expected,
            picked=picked,
            prob_correct=answer.prob_correct,
            **extra,
        )

    async def _summarize_answers(self, results: list[tuple[MCQTask, Answer]]) -> dict[str, Any]:
        from nanoeval_solvers._summary import summarize_choices  # noqa: PLC0415  metrics

        for task, answer in results:
            check_picked(task, answer)
        extra = await asyncio.to_thread(
            self.solver.compute_extra_metrics, results, n_consensus=self.n_consensus
        )
        return {**summarize_choices(results, by=self.by), **extra}


def check_picked(task: MCQTask, answer: Answer) -> None:
    """Raise `ConfigError` unless `answer.picked` is of the type that the question asks for."""
    several = task.question.allow_multiple_choices
    if answer.picked is not None and isinstance(answer.picked, set) != several:
        wanted = "a set of indices" if several else "an index"
        raise ConfigError(
            f"the solver's answer to {task.name!r} picked {answer.picked!r}: give {wanted}, as "
            f"Question.allow_multiple_choices={several} asks"
        )


@chz.chz
class MockSolver(Mock, MCQSolver[Answer]):
    """Answers at random, without a model: the way to test an eval.

    The same seed gives the same answers, whatever the order and number of executors.
    """

    accuracy: float = chz.field(default=0.5, doc="The probability of a correct answer.")
    unparsable_rate: float = chz.field(
        default=0.0, doc="The probability of a reply that names no choice."
    )

    async def solve(self, task: MCQTask) -> Answer:
        rng = await self._attempt(task)
        picked = self._pick(task.question, rng)
        letters = task.question.show_picked(picked)
        record_mock_reply(task.question.question, None if letters is None else ", ".join(letters))
        return task.question.answer(picked)

    def _pick(self, question: Question, rng: random.Random) -> frozenset[int] | None:
        right, unparsable = rng.random() < self.accuracy, rng.random() < self.unparsable_rate
        if unparsable:
            return None
        every = range(len(question.answers))
        if not question.allow_multiple_choices:
            wrong = [index for index in every if index not in question.correct_indices]
            from_ = sorted(question.correct_indices) if right or not wrong else wrong
            return frozenset({rng.choice(from_ or wrong)})
        if right or len(every) == 1:
            return frozenset(question.correct_indices)
        while True:
            picked = frozenset(index for index in every if rng.random() < 0.5)
            if picked and picked != question.correct_indices:
                return picked


def majority(answers: Iterable[frozenset[int] | None]) -> list[frozenset[int]]:
    """Return the most frequent answers, several when they tie; None has no vote."""
    votes = Counter(answer for answer in answers if answer is not None)
    most = max(votes.values(), default=0)
    return sorted((answer for answer, n in votes.items() if n == most), key=sorted)
