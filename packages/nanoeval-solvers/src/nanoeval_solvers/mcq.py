"""Multiple-choice questions: what they are, how they are asked, how answers are scored.

An eval is one small class. This one is complete:

    @chz.chz
    class Capitals(MCQEval):
        def get_name(self) -> str:
            return "capitals"

        async def get_questions(self) -> list[Question]:
            return [
                Question(id="fr", question="Capital of France?", choices=("Lyon", "Paris"),
                         correct_indices={1}),
            ]

    asyncio.run(nanoeval.run(EvalSpec(eval=Capitals(solver=MockSolver()))))

`MCQEval` does the rest: it shuffles the choices of each question from `seed`, makes `n_consensus`
tasks of it, asks `solver`, records each answer and sums them up.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence, Set
from typing import TYPE_CHECKING, Any, Literal, Self

import chz
from nanoeval_core.asyncio_utils import HasAsyncContextManager
from nanoeval_core.errors import ConfigError, RolloutSystemError
from nanoeval_core.eval import Eval, RunningSummary
from nanoeval_core.recorder import get_recorder
from nanoeval_core.task import Task
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from nanoeval_solvers._replies.letters import letter_of, letters_for

if TYPE_CHECKING:
    from nanoeval_core.metrics.outcomes import Outcome

Problem = Literal["unparsable", "empty", "context_length", "content_policy"]
"""Why there is no answer: a reply that names no choice, a prompt longer than the model's context,
or a refusal by the endpoint's content policy."""


class Question(BaseModel):
    """A question with lettered choices.

    Args:
        question: the text that is asked, without the choices.
        choices: the texts of the choices, in the order in which they are shown.
        correct_indices: which of `choices` are right, from 0; exactly one unless
            `allow_multiple_choices`.
        id: the task's `question_id` (any text without `/`); by default the question's position
            in `MCQEval.get_questions`.
        allow_multiple_choices: any number of choices may be right, and the answer is a set: it
            scores only when it is exactly `correct_indices`.
        images: shown with the question: `https://…` or `data:` URLs, or paths of image files.
        metadata: carried along for your own use, such as a subject to group scores by.
    """

    model_config = ConfigDict(frozen=True)

    question: str
    choices: Sequence[str] = Field(min_length=1)
    correct_indices: Set[int]
    id: str | None = None
    allow_multiple_choices: bool = False
    images: Sequence[str] = ()
    metadata: dict[str, Any] = {}

    @field_validator("correct_indices", mode="before")
    @classmethod
    def _one_index_is_a_set(cls, value: object) -> object:
        return {value} if isinstance(value, int) else value

    @field_validator("choices", "images")
    @classmethod
    def _freeze_texts(cls, value: Sequence[str]) -> tuple[str, ...]:
        return tuple(value)

    @field_validator("correct_indices")
    @classmethod
    def _freeze_indices(cls, value: Set[int]) -> frozenset[int]:
        return frozenset(value)

    @model_validator(mode="after")
    def _check_indices(self) -> Self:
        wrong = sorted(i for i in self.correct_indices if not 0 <= i < len(self.choices))
        if wrong:
            raise ValueError(
                f"correct_indices {wrong} are outside of the {len(self.choices)} choices: "
                "count from 0"
            )
        if not self.allow_multiple_choices and len(self.correct_indices) != 1:
            raise ValueError(
                f"correct_indices has {len(self.correct_indices)} entries: a question has exactly "
                "one correct choice, or set allow_multiple_choices=True"
            )
        return self

    @property
    def letters(self) -> tuple[str, ...]:
        """The choices' labels: A to Z, then AA, AB, …"""
        return letters_for(len(self.choices))

    def show_picked(self, indices: Iterable[int] | None) -> str | list[str] | None:
        """`indices` as records show them: a letter, or a list of letters for a set of them."""
        if indices is None:
            return None
        letters = [letter_of(index) for index in sorted(indices)]
        return letters[0] if len(letters) == 1 and not self.allow_multiple_choices else letters

    def permuted(self, order: Sequence[int]) -> Question:
        """The same question with its choices in the order of `order`, old indices by new."""
        return self.model_copy(
            update={
                "choices": tuple(self.choices[old] for old in order),
                "correct_indices": frozenset(
                    new for new, old in enumerate(order) if old in self.correct_indices
                ),
            }
        )

    def shuffled(self, seed: int | str) -> Question:
        """The same question with its choices in an order that depends on `seed` alone."""
        order = list(range(len(self.choices)))
        random.Random(seed).shuffle(order)
        return self.permuted(order)


class MCQTask(Task):
    """One attempt at one `Question`, its choices already in the order to show them in."""

    question: Question


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a solver made of a question.

    Args:
        picked: the indices of the picked choices, as the task's question has them, or one index;
            None when there is no answer.
        problem: why there is none; "unparsable" unless the solver says otherwise.
        tied: the equally good answers when several are; the score is then the expectation over a
            uniform choice among them, and `picked` is such a choice, seeded.
        prob_correct: the probability that the solver gave to the correct answer, if it knows.
        prob_picked: the probability that it gave to `picked`: its confidence, if it knows.
        num_unparsable_samples: how many of the samples behind the answer named no choice.
        truncated: the reply was cut off by the limit of tokens.
        correct: whether it counts as correct; filled in by `MCQEval.evaluate`.
    """

    picked: frozenset[int] | None
    problem: Problem | None = None
    tied: tuple[frozenset[int], ...] = ()
    prob_correct: float | None = None
    prob_picked: float | None = None
    num_unparsable_samples: int = 0
    truncated: bool = False
    correct: bool | None = None

    def __post_init__(self) -> None:
        picked = self.picked
        if isinstance(picked, int):
            picked = {picked}
        if picked is not None and self.problem is not None:
            raise ValueError(f"an answer that picked {set(picked)} has no problem {self.problem!r}")
        # Not attributes assigned twice: the dataclass is frozen, and this is its construction.
        object.__setattr__(self, "picked", None if picked is None else frozenset(picked))
        if picked is None and self.problem is None:
            object.__setattr__(self, "problem", "unparsable")

    @property
    def outcome(self) -> Outcome | None:
        """What became of the attempt; None before it is known to be correct or not."""
        return outcome_of_answer(self.problem, self.correct)

    def score(self, question: Question) -> float:
        """From 0 (wrong) to 1 (right): fractional only when answers are tied."""
        if self.tied:
            return sum(one == question.correct_indices for one in self.tied) / len(self.tied)
        return float(self.picked == question.correct_indices)


def outcome_of_answer(problem: Problem | None, correct: bool | None) -> Outcome | None:
    """What an answer with that `problem` counts as. A refusal by the endpoint is a result."""
    from nanoeval_core.metrics.outcomes import Outcome  # noqa: PLC0415  not needed to define evals

    if problem is not None:
        return Outcome.UNPARSABLE if problem in ("unparsable", "empty") else Outcome.REFUSED
    return None if correct is None else Outcome.CORRECT if correct else Outcome.INCORRECT


@chz.chz
class MCQSolver(HasAsyncContextManager, ABC):
    """A strategy that answers multiple-choice questions. Override `solve`.

    Override `_context` (an async generator that yields once) for what each executor must open
    before its first task.
    """

    @abstractmethod
    async def solve(self, task: MCQTask) -> Answer:
        """Answer `task.question`.

        Record what was asked and replied with `get_recorder().record_sampling`; the eval records
        the answer itself.

        Raises:
            RolloutSystemError: the system failed, not the model; the task is retried.
        """


@chz.chz
class MCQEval(Eval[MCQTask, Answer]):
    """An eval of multiple-choice questions. Override `get_name` and `get_questions`."""

    solver: MCQSolver = chz.field(doc="Answers the questions.")
    n_consensus: int = chz.field(
        default=1,
        doc="Attempts at each question; with several, the summary has pass@k and cons@k.",
    )
    seed: int = chz.field(default=0, doc="Decides the order in which choices are shown.")
    shuffle_choices: bool = chz.field(
        default=True, doc="Show each question's choices in a random order, the same in every run."
    )

    @chz.validate
    def _check_n_consensus(self) -> None:
        if self.n_consensus < 1:
            raise ConfigError(
                f"{type(self).__name__}.n_consensus={self.n_consensus}: give 1 or more"
            )

    @abstractmethod
    async def get_questions(self) -> Sequence[Question]:
        """The questions, in any order, each with the `id` that records should show."""

    async def get_tasks(self) -> Sequence[MCQTask]:
        tasks = []
        for index, question in enumerate(await self.get_questions()):
            question_id = question.id if question.id is not None else str(index)
            if self.shuffle_choices:
                question = question.shuffled(f"{self.seed}:{question_id}")  # noqa: PLW2901
            tasks += [
                MCQTask(question_id=question_id, attempt_id=attempt, question=question)
                for attempt in range(1, self.n_consensus + 1)
            ]
        return tasks

    async def _context(self) -> AsyncGenerator[None, None]:
        async with self.solver:
            yield

    async def evaluate(self, task: MCQTask) -> Answer:
        answer = await self.solver.solve(task)
        answer = dataclasses.replace(answer, correct=answer.picked == task.question.correct_indices)
        self.record_answer(task, answer)
        return answer

    def record_answer(self, task: MCQTask, answer: Answer) -> None:
        """Record `answer` as a match, with why there is none if there is none."""
        question = task.question
        extra: dict[str, Any] = {}
        if answer.problem is not None:
            extra["problem"] = answer.problem
        if answer.problem == "unparsable":
            extra["unparsable"] = True
        if answer.tied:
            extra["tied"] = [question.show_picked(one) for one in answer.tied]
            extra["score"] = answer.score(question)
        if answer.num_unparsable_samples:
            extra["num_unparsable_samples"] = answer.num_unparsable_samples
        if answer.truncated:
            extra["truncated"] = True
        if answer.prob_picked is not None:
            extra["prob_picked"] = answer.prob_picked
        get_recorder().record_match(
            answer.picked == question.correct_indices,
            expected=question.show_picked(question.correct_indices),
            picked=question.show_picked(answer.picked),
            prob_correct=answer.prob_correct,
            **extra,
        )

    async def get_summary(self, results: list[tuple[MCQTask, Answer]]) -> dict[str, Any]:
        from nanoeval_solvers._summary import summarise_choices  # noqa: PLC0415  metrics

        return summarise_choices(results)

    def running_summary(self) -> RunningSummary | None:
        if type(self).get_summary is not MCQEval.get_summary:
            return None  # a subclass sums up in its own way, during the run too
        # Deferred: metrics are needed when there are results.
        from nanoeval_core.metrics.running_summary import RunningAccuracy  # noqa: PLC0415

        return RunningAccuracy(score=lambda task, answer: answer.score(task.question))


@chz.chz
class MockSolver(MCQSolver):
    """Answers at random, without a model: the way to test an eval.

    The same seed gives the same answers, whatever the order and number of executors.
    """

    accuracy: float = chz.field(default=0.5, doc="The probability of a correct answer.")
    seed: int = chz.field(default=0, doc="Decides which answers are given.")
    latency: float = chz.field(default=0.0, doc="Mean seconds per answer, exponential.")
    failure_rate: float = chz.field(
        default=0.0, doc="The probability that an attempt ends in a system error, and is retried."
    )
    unparsable_rate: float = chz.field(
        default=0.0, doc="The probability of a reply that names no choice."
    )

    @chz.validate
    def _check_rates(self) -> None:
        check_mock_rates(self)

    async def solve(self, task: MCQTask) -> Answer:
        dice = await mock_attempt(self, task)
        answer = self._answer(task.question, dice)
        picked = task.question.show_picked(answer.picked)
        get_recorder().record_sampling(
            task.question.question,
            ["I cannot tell." if picked is None else f"Answer: {', '.join(picked)}"],
            model="mock",
        )
        return answer

    def _answer(self, question: Question, dice: random.Random) -> Answer:
        right, unparsable = dice.random() < self.accuracy, dice.random() < self.unparsable_rate
        if unparsable:
            return Answer(None)
        if right or len(question.choices) == 1:
            return Answer(frozenset(question.correct_indices))
        return Answer(_wrong_answer(question, dice))


def _wrong_answer(question: Question, dice: random.Random) -> frozenset[int]:
    indices = range(len(question.choices))
    if not question.allow_multiple_choices:
        return frozenset({dice.choice([i for i in indices if i not in question.correct_indices])})
    while True:
        picked = frozenset(i for i in indices if dice.random() < 0.5)
        if picked and picked != question.correct_indices:
            return picked


def check_mock_rates(mock: Any) -> None:
    """Raise `ConfigError` unless the probabilities of a mock solver are some."""
    for name in ("accuracy", "failure_rate", "unparsable_rate", "agreement"):
        value = getattr(mock, name, 0.0)
        if not 0 <= value <= 1:
            raise ConfigError(f"{type(mock).__name__}.{name}={value}: give a number from 0 to 1")
    if mock.latency < 0:
        raise ConfigError(f"{type(mock).__name__}.latency={mock.latency}: give seconds, 0 or more")


async def mock_attempt(mock: Any, task: Task) -> random.Random:
    """Take a mock solver's time, fail as often as it should, and give the attempt's dice.

    Raises:
        RolloutSystemError: by chance, anew at each retry.
    """
    fate = random.Random(f"{mock.seed}:{task.name}:{task.retry_idx}:fate")
    if mock.latency:
        await asyncio.sleep(fate.expovariate(1 / mock.latency))
    if fate.random() < mock.failure_rate:
        raise RolloutSystemError(
            f"the mock solver failed task {task.name!r}, as failure_rate={mock.failure_rate} asks"
        )
    return random.Random(f"{mock.seed}:{task.name}")


def majority(answers: Iterable[frozenset[int] | None]) -> list[frozenset[int]]:
    """The most frequent answers, several when they tie; None is not an answer and has no vote."""
    votes = Counter(answer for answer in answers if answer is not None)
    most = max(votes.values(), default=0)
    return sorted((answer for answer, n in votes.items() if n == most), key=sorted)
