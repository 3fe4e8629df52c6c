"""`Task`: the separable, scoreable unit of work that an eval is made of."""

from __future__ import annotations

from pydantic import BaseModel, field_validator
from typing_extensions import TypeVar


class Task(BaseModel):
    """One attempt at one question. Subclass it to add the fields your eval needs.

    A logical task is `(question_id, attempt_id)`; `retry_idx` counts its retries and is set by
    the runner.

    Args:
        question_id: identifies the instance within the eval; any text without a `/`.
        attempt_id: which of several independent attempts at the question this is, from 1.
        retry_idx: how often this attempt was retried after a system error, from 0.
    """

    question_id: str
    attempt_id: int = 1
    retry_idx: int = 0

    @field_validator("question_id")
    @classmethod
    def _check_question_id(cls, value: str) -> str:
        if not value:
            raise ValueError("question_id is empty: give every question an id of its own")
        if "/" in value:
            raise ValueError(
                f"question_id {value!r} contains '/', which separates ids in records: "
                "use another character, such as '-' or ':'"
            )
        return value

    @property
    def name(self) -> str:
        """`question_id.attempt_id`, unique within an eval."""
        return f"{self.question_id}.{self.attempt_id}"

    @property
    def group_id(self) -> str:
        """`attempt_id.retry_idx`: the `group_id` under which this attempt's events are recorded."""
        return f"{self.attempt_id}.{self.retry_idx}"


TTask = TypeVar("TTask", bound=Task)
TResult = TypeVar("TResult")
