"""`Task`: the separable, scoreable unit of work that an eval is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from pydantic import BaseModel, model_validator
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

    @model_validator(mode="after")  # one for all: each costs every task some of its microseconds
    def _check(self) -> Self:
        if "/" in self.question_id:
            raise ValueError(
                f"question_id {self.question_id!r} contains '/', which separates ids in records: "
                "use another character, such as '-'"
            )
        if self.unsafe_skip_serialization_validation:
            return self
        if self.__pydantic_private__ is None and self.__pydantic_extra__ is None:
            for value in self.__dict__.values():
                if type(value) not in _PLAIN and not _is_plain_list(value):
                    break
            else:
                return self
        # Deferred: most tasks are made of texts and numbers, of which it is known.
        from nanoeval_core import pickling  # noqa: PLC0415

        what = f"task {self.name!r}"
        pickling.check_loadable(pickling.dumps(self, what=what, renew_locks=True), what=what)
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


def _is_plain_list(value: Any) -> bool:
    """Return whether `value` is a list of texts and numbers: it can surely be pickled."""
    return type(value) in (list, tuple) and all(type(part) in _PLAIN for part in value)


_PLAIN = frozenset({str, int, float, bool, type(None), bytes})

__all__ = ["TResult", "TTask", "Task", "repeat_tasks"]
