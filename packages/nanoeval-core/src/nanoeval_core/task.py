"""`Task`: the separable, scoreable unit of work that an eval is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from pydantic import BaseModel, field_validator, model_validator
from typing_extensions import TypeVar


class Task(BaseModel):
    """One attempt at one question. Subclass it to add the fields your eval needs.

    A logical task is `(question_id, attempt_id)`; `retry_idx` counts its retries and is set by
    the runner.

    Args:
        question_id: identifies the instance within the eval; any text without a `/`.
        attempt_id: which of several independent attempts at the question this is, from 1.
        retry_idx: how often this attempt was retried after a system error, from 0.
        unsafe_skip_serialization_validation: do not check, when the task is made, that it can
            travel to an executor.
    """

    question_id: str
    attempt_id: int = 1
    retry_idx: int = 0
    unsafe_skip_serialization_validation: bool = False

    @field_validator("question_id")
    @classmethod
    def _check_question_id(cls, value: str) -> str:
        if "/" in value:
            raise ValueError(
                f"question_id {value!r} contains '/', which separates ids in records: "
                "use another character, such as '-'"
            )
        return value

    @model_validator(mode="after")
    def _check_serialization(self) -> Self:
        if not self.unsafe_skip_serialization_validation and not (
            self.__pydantic_private__ is None
            and self.__pydantic_extra__ is None
            and all(map(_is_plain, self.__dict__.values()))
        ):
            # Deferred: most tasks are made of texts and numbers, of which this is known.
            from nanoeval_core.pickling import check_round_trip  # noqa: PLC0415

            check_round_trip(self, what=f"task {self.name!r}")
        return self

    @property
    def name(self) -> str:
        """`question_id.attempt_id`, unique within an eval."""
        return f"{self.question_id}.{self.attempt_id}"


TTask = TypeVar("TTask", bound=Task)
TResult = TypeVar("TResult")


def repeat_tasks(tasks: Sequence[TTask], attempts: int) -> list[TTask]:
    """Return `attempts` independent attempts at each of `tasks`, all of the first one first.

        async def get_tasks(self) -> list[Sum]:
            return repeat_tasks(self.questions(), attempts=4)

    Raises:
        ValueError: `attempts` is not positive.
    """
    if attempts < 1:
        raise ValueError(f"attempts={attempts}: give 1 or more")
    return [
        task.model_copy(update={"attempt_id": attempt})
        for attempt in range(1, attempts + 1)
        for task in tasks
    ]


def _is_plain(value: Any) -> bool:
    """Return whether `value` is a text, a number, or made of such: it can surely be pickled."""
    kind = type(value)
    if kind is list or kind is tuple:
        return all(type(part) in _PLAIN for part in value)
    return kind in _PLAIN


_PLAIN = frozenset({str, int, float, bool, type(None), bytes})

__all__ = ["TResult", "TTask", "Task", "repeat_tasks"]
