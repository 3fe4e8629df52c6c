"""What a solver yields while it works on a task, and in the end."""

from __future__ import annotations

from abc import ABC
from datetime import timedelta
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field, SerializeAsAny, field_serializer

from nanoeval_computer.serialization import Migration, VersionedModel
from nanoeval_computer.task import Grade

__all__ = [
    "AgentResult",
    "Ended",
    "FinalResult",
    "FinalResultSuccessful",
    "FinalResultWithException",
    "Step",
    "Turn",
]


def _grade_of_version_0(log_field: str) -> Migration:
    """Return the migration from version 0, which had `correct` and a text in place of `grade`."""

    def migrate(data: dict[str, Any]) -> dict[str, Any]:
        correct, log = bool(data.pop("correct", False)), data.pop(log_field, None)
        if log is None and correct:
            raise ValueError(f"version 0 without {log_field} cannot have been correct")
        data["grade"] = None if log is None else {"score": float(correct), "grader_log": log}
        return data

    return migrate


class Step(VersionedModel):
    """One step of a rollout: the conversation, the time it took, a grade where there is one."""

    _migrations: ClassVar[dict[int, Migration]] = {0: _grade_of_version_0("autograder_result")}

    convo: Any
    grade: SerializeAsAny[Grade] | None
    elapsed: timedelta
    type: Literal["step"] = "step"

    @property
    def correct(self) -> bool:
        return self.grade is not None and self.grade.score == 1

    @field_serializer("elapsed", when_used="json")
    def _iso_8601(self, elapsed: timedelta) -> str:
        minutes, seconds = divmod(elapsed.seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"P{elapsed.days}DT{hours}H{minutes}M{seconds}.{elapsed.microseconds:06d}S"


class FinalResult(ABC, VersionedModel):
    """How a rollout ended: its grade, and which limits it reached."""

    _migrations: ClassVar[dict[int, Migration]] = {0: _grade_of_version_0("grader_log")}

    grade: SerializeAsAny[Grade]
    convo: Any = None
    finish_status: Literal["finished-successfully"] = "finished-successfully"
    max_steps_reached: bool = False
    max_tokens_reached: bool = False
    max_time_reached: bool = False
    type: Literal["final_result_successful"] = "final_result_successful"

    @property
    def correct(self) -> bool:
        return self.grade.score == 1


FinalResultSuccessful = FinalResult
"""The name that older releases had for it."""


class FinalResultWithException(FinalResult):
    """What older releases had for a rollout that a system error ended. The eval raises it."""

    grade: SerializeAsAny[Grade] = Field(default_factory=lambda: Grade(score=0, grader_log=""))
    exception: Any = None


Ended = Literal[
    "submitted", "no_call", "refused", "max_steps", "max_time", "max_tokens", "max_cost",
    "machine_lost",
]  # fmt: skip


class Turn(BaseModel):
    """One turn of an agent: the `convo` of its step.

    Its messages are not recorded with the step: samplings have them already.
    """

    number: int
    calls: list[str]
    new_messages: list[Any] = Field(exclude=True)


class AgentResult(FinalResult):
    """How an agent's rollout ended. Reaching a limit is an outcome: it is graded.

    Attributes:
        ended: why it is over.
        limit: the limit that was reached, where it was one.
        used: how much was used of that limit.
        turns: replies of the model.
        seconds: of the rollout, waits for a rate limit not counted.
        total_tokens: that the model read and wrote.
        cost: of the rollout, in the unit of the model's prices.
    """

    ended: Ended
    limit: float | None = None
    used: float | None = None
    turns: int = 0
    seconds: float = 0.0
    total_tokens: int = 0
    cost: float = 0.0

    def model_post_init(self, context: Any) -> None:
        self.max_steps_reached = self.ended == "max_steps"
        self.max_time_reached = self.ended == "max_time"
        self.max_tokens_reached = self.ended == "max_tokens"
