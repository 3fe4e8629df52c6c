"""What evals of questions have in common, whether they are answered by choices or in words."""

from __future__ import annotations

import statistics
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import chz
from nanoeval_core.errors import ConfigError
from nanoeval_core.eval import Eval, ProgressBar, RunningSummary
from nanoeval_core.task import Task
from pydantic import BaseModel

if TYPE_CHECKING:
    from nanoeval_core.metrics.outcomes import Outcome

Problem = Literal["unparsable", "empty", "context_length", "content_policy"]
"""Why there is no answer: a reply that names no choice, no reply at all, a prompt longer than the
model's context, or a refusal by the endpoint's content policy."""


def outcome_of_answer(problem: Problem | None, correct: bool) -> Outcome:
    """Return what an answer with that `problem` counts as; an endpoint's refusal is a result."""
    from nanoeval_core.metrics.outcomes import Outcome  # noqa: PLC0415  not needed to define evals

    if problem is not None:
        return Outcome.UNPARSABLE if problem in ("unparsable", "empty") else Outcome.REFUSED
    return Outcome.CORRECT if correct else Outcome.INCORRECT


class ReadAnswer(BaseModel):
    """What is kept of an answer to a question of either kind."""

    metadata: dict[str, Any] = {}
    problem: Problem | None = None
    read_by: str | None = None
    truncated: bool = False
    only_reasoning: bool = False
    followed_up: bool = False

    def _noted(self, question: Any, *, always: bool) -> dict[str, Any]:
        """Return what a match's record says of the answer; `always` with metadata, empty or not."""
        notes = {
            "problem": self.problem,
            "unparsable": self.problem == "unparsable",
            "read_by": self.read_by,
            "truncated": self.truncated,
            "only_reasoning": self.only_reasoning,
            "followed_up": self.followed_up,
        }
        metadata = {**question.metadata, **self.metadata}
        noted = {name: note for name, note in notes.items() if note}
        return noted | ({"metadata": metadata} if metadata or always else {})


TQuestion = TypeVar("TQuestion")
TTask = TypeVar("TTask", bound=Task)
TAnswer = TypeVar("TAnswer", bound=ReadAnswer)


@chz.chz
class QuestionsEval(ABC, Eval[TTask, TAnswer], Generic[TQuestion, TTask, TAnswer]):
    """An eval of questions. Override `get_name`, and `get_questions` or `_get_tasks`."""

    by: tuple[str, ...] = chz.field(
        default=(), doc="Keys of Question.metadata to break the summary down by."
    )

    async def get_questions(self) -> Sequence[TQuestion]:
        """Return the questions, in any order, each with the `id` that records should show."""
        return await self._get_tasks()

    async def _get_tasks(self) -> list[TQuestion]:
        """Return the questions, where they are to be numbered: see the module."""
        raise ConfigError(
            f"{type(self).__name__} defines neither get_questions nor _get_tasks: one of them "
            "returns the questions"
        )

    @property
    def _is_numbered(self) -> bool:
        """Whether the questions come from `_get_tasks`: then ids and records follow its rules."""
        return type(self)._get_tasks is not QuestionsEval._get_tasks

    async def _attempts(self, number: int) -> list[dict[str, Any]]:
        """Return the fields of the tasks: `number` attempts at each question."""
        numbered = self._is_numbered
        questions: Sequence[Any] = await (self._get_tasks() if numbered else self.get_questions())
        known = {name for question in questions for name in question.metadata}
        for key in self.by:
            if questions and key not in known:
                raise ConfigError(
                    f"by={key!r}: no question has it in its metadata; they have "
                    f"{', '.join(sorted(map(repr, known))) or 'none at all'}"
                )
        named: list[dict[str, Any]] = []
        for index, question in enumerate(questions):
            name = str(index) if question.id is None else question.id
            name = f"{self.get_name()}.{index}" if numbered else name
            named.append({"question_id": name, "question": self._as_shown(name, question)})
        if numbered:
            return [{**one, "attempt_id": n} for n in range(number) for one in named]
        return [{**one, "attempt_id": 1 + n} for one in named for n in range(number)]

    def _as_shown(self, name: str, question: TQuestion) -> TQuestion:
        return question

    async def get_summary(self, results: list[tuple[TTask, TAnswer]]) -> dict[str, Any]:
        return {} if self._is_numbered and not results else await self._summarize_answers(results)

    @abstractmethod
    async def _summarize_answers(self, results: list[tuple[TTask, TAnswer]]) -> dict[str, Any]: ...

    async def update_progress(
        self, partial_results: list[tuple[TTask, Any]], pbar: ProgressBar
    ) -> None:
        right = [answer.correct for _, answer in partial_results]
        pbar.set_postfix(acc=statistics.fmean(right) if right else float("nan"))

    def running_summary(self) -> RunningSummary | None:
        if type(self).get_summary is not QuestionsEval.get_summary:
            return None  # a subclass sums up in its own way, during the run too
        # Deferred: metrics are needed when there are results.
        from nanoeval_core.metrics.running_summary import RunningAccuracy  # noqa: PLC0415

        return RunningAccuracy(score=lambda task, answer: answer.score(task.question))
