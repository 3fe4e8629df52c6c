"""What an executor needs of the world, so that the same loop runs anywhere."""

from __future__ import annotations

import contextvars
from collections.abc import Sequence
from typing import Any, Protocol

from nanoeval_core.eval import Eval
from nanoeval_core.recording import EventEncoder
from nanoeval_core.spec import RunnerArgs
from nanoeval_core.task import Task

from nanoeval_runner._queue.rows import Completion, ExchangeReply, ExchangeRequest, Lease


class TaskSource(Protocol):
    """The queue, as executors see it: a state file, or a connection to the process that has it."""

    async def exchange(self, request: ExchangeRequest) -> ExchangeReply: ...

    async def fail_eval(self, eval_id: int, error: bytes) -> None: ...


class EvalHandle(Protocol):
    """An eval as an executor gets it: what to run, and how."""

    @property
    def eval(self) -> Eval[Any, Any]: ...

    @property
    def runner(self) -> RunnerArgs: ...

    @property
    def encoder(self) -> EventEncoder: ...

    def task(self, lease: Lease) -> Task: ...


class EvalLoader(Protocol):
    """Where an executor gets its evals from."""

    async def load(self, eval_id: int) -> EvalHandle: ...

    def wants(self, eval_id: int) -> bool:
        """Whether a running eval is to be opened; not so while its driver sums it up."""
        ...

    def context(self, eval_id: int) -> contextvars.Context | None:
        """The context to run the eval in, None for the executor's own."""


class ExecutorEvents(Protocol):
    """Whom an executor tells what happened."""

    def committed(self, completions: Sequence[Completion]) -> None:
        """These completions are in the state file now."""

    def idle(self) -> None:
        """There was nothing to claim; wake the executor when that may have changed."""

    def eval_failed(self, eval_id: int, error: BaseException) -> None:
        """The eval cannot go on: `error` was raised by its `evaluate` or its context."""
