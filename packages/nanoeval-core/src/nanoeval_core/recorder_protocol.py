"""What a recorder is, to those who write one.

Implement `RecorderProtocol` (any class with these methods will do) and a `RecorderConfig` that
builds it. That is enough: the runner collects what attempts record, and replays the calls of
completed attempts onto your recorder in the driving process, on a thread of its own, so a slow or
failing recorder never holds up or loses results.

A recorder that can encode its own events may also implement `TransactionalRecorder`: its events
then travel with the result as bytes and are written exactly once, whatever dies and when.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

import chz

if TYPE_CHECKING:
    from nanoeval_core.spec import EvalSpec

View = Literal["run", "monitor"]


class RunSpec(Protocol):
    """What identifies a run. Recorders may carry more in theirs."""

    @property
    def run_id(self) -> str: ...

    @property
    def run_set_id(self) -> str: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class BasicRunSpec:
    """The smallest useful `RunSpec`.

    Attributes:
        run_id: unique to one run of one eval.
        run_set_id: shared by the evals that were run together; names the state file.
        eval_name: `Eval.get_name()`.
        model_name: `RunnerArgs.model_name`, when given.
        created_at: UTC, ISO 8601.
    """

    run_id: str
    run_set_id: str
    eval_name: str = ""
    model_name: str | None = None
    created_at: str = ""


@runtime_checkable
class RecorderProtocol(Protocol):
    """Where an eval's events go.

    `sample_id` is the task's `question_id`, `group_id` its `attempt.retry`. Inside
    `Eval.evaluate`, `get_recorder()` returns a recorder bound to both.
    """

    @property
    def run_spec(self) -> RunSpec: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None: ...

    def current_sample_id(self) -> str | None: ...

    def current_group_id(self) -> str | None: ...

    def as_default_recorder(
        self, sample_id: str, group_id: str, **extra: Any
    ) -> AbstractContextManager[Any]:
        """Bind the ids and make this the recorder that `get_recorder()` returns."""
        ...

    def record_match(
        self,
        correct: bool,
        *,
        expected: Any = None,
        picked: Any = None,
        prob_correct: float | None = None,
        **extra: Any,
    ) -> None: ...

    def record_sampling(
        self,
        prompt: Any,
        sampled: Any,
        *,
        extra_allowed_metadata_fields: list[str] | None = None,
        **extra: Any,
    ) -> None: ...

    def record_sample_completed(self, **extra: Any) -> None: ...

    def record_error(self, msg: str, error: Exception | None, **kwargs: Any) -> None: ...

    def record_extra(self, data: Any) -> None: ...

    def record_final_report(self, final_report: Any) -> None: ...

    def evalboard_url(self, view: View) -> str | None:
        """Where a person can look at this run, or None."""
        ...


class AttemptRecorder(RecorderProtocol, Protocol):
    """What `get_recorder()` returns while one attempt runs: bound to it, collecting its events."""

    def take(self, *, completed: bool) -> bytes:
        """The attempt's events, encoded, and forget them.

        Args:
            completed: False when the attempt ended in a system error: nothing that looks like a
                result (a match, …) may be among the bytes then.
        """
        ...


class EventEncoder(Protocol):
    """An executor's half of a `TransactionalRecorder`: picklable, holds no file or connection."""

    def attempt(self, sample_id: str | None, group_id: str | None) -> AttemptRecorder:
        """Collects the events of one attempt; of none, for what is recorded outside of them."""
        ...


@runtime_checkable
class TransactionalRecorder(RecorderProtocol, Protocol):
    """A recorder whose events are committed with the result they belong to.

    Executors encode events with `encoder()`; the bytes are stored in the transaction that stores
    the result; the driver passes them, in commit order and once, to `write_events`, then stores
    `position()`. After a crash it calls `rewind` with the last stored position before it writes
    again, and that must undo whatever was written after it.

    A recorder whose writes take microseconds (to a local file, say) may have a class attribute
    `writes_at_once = True`: events of tasks that ran in the driver itself are then written just
    before the transaction that commits their results and their position, rather than stored in it
    and written later; a transaction that fails is followed by `rewind`.
    """

    def encoder(self) -> EventEncoder: ...

    def write_events(self, events: Sequence[bytes]) -> None:
        """Write what `AttemptRecorder.take` returned. May block: it is called on a thread."""
        ...

    def position(self) -> str:
        """An opaque text naming all that was written so far. The empty text means nothing was."""
        ...

    def rewind(self, position: str) -> None: ...


@chz.chz
class RecorderConfig(ABC):
    """How to build a recorder: what `RunnerArgs.recorder` takes."""

    @abstractmethod
    async def factory(self, spec: EvalSpec, num_tasks: int) -> RecorderProtocol:
        """Build the recorder of one run.

        Args:
            spec: the run's spec; `spec.runner.run_set_id` is filled in, and
                `current_run_spec()` gives the ids of the run being set up.
            num_tasks: how many tasks the run has.
        """
