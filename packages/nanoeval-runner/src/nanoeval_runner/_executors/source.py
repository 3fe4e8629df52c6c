"""The one thing that differs between executors: where evals and tasks come from, and results go."""

from __future__ import annotations

import contextvars
import dataclasses
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable

from nanoeval_core.recording import EventEncoder
from nanoeval_core.spec import EvalSpec
from nanoeval_core.task import Task

from nanoeval_runner._payloads import load_task
from nanoeval_runner._queue.rows import ExchangeReply, ExchangeRequest, Lease, StoredSpec


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedEval:
    """An eval as an executor gets it: what to run, and how.

    Attributes:
        task: gives the task of a lease, as it was queued.
    """

    spec: EvalSpec
    encoder: EventEncoder
    task: Callable[[Lease], Task]


def load_eval(stored: StoredSpec) -> LoadedEval:
    """Return an eval that was stored to run outside of the driver."""
    assert stored.spec is not None  # noqa: S101  the driver refuses what it cannot pickle
    return LoadedEval(
        pickle.loads(stored.spec),
        pickle.loads(stored.encoder),
        lambda lease: load_task(lease.payload or b"", lease.retry_idx),
    )


class TaskSource(ABC):
    """The queue, as an executor sees it."""

    @abstractmethod
    async def exchange(self, request: ExchangeRequest) -> ExchangeReply:
        """Commit what became of leases, and claim new ones."""

    def context(self, eval_id: int) -> contextvars.Context | None:
        """Give the context variables to run an eval in; None for the executor's own."""
        return None

    @abstractmethod
    async def load(self, eval_id: int) -> LoadedEval:
        """Give an eval that the last reply said is running; its context is entered next."""

    @abstractmethod
    async def fail_eval(self, eval_id: int, error: BaseException) -> None:
        """End the eval: its context raised `error`, or it could not be loaded."""

    def left(self, eval_id: int) -> None:  # noqa: B027  nobody need know
        """Note that this executor has left an eval that `load` gave, or could not give."""
