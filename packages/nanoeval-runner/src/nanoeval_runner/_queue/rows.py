"""What crosses the boundary between the queue and those who use it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from nanoeval_core.usage import Usage

LeaseEnd = Literal["done", "failed", "retried", "fatal", "requeued"]
FINAL = frozenset({"done", "failed"})
"""Outcomes that are the task's result, rather than that of one attempt of several."""
RESULT_STATES = FINAL | {"retried"}
"""Outcomes that are stored, each as the state of that name."""


NewTask = tuple[str, int, bytes, bytes]
"""A task to be queued: question id, attempt id, class, values; see `_payloads.dump_tasks`."""


@dataclasses.dataclass(slots=True)
class Lease:
    """A task that an executor may run.

    Attributes:
        losses: how many executors have died while they ran it.
        payload: the pickled task; None where the executor has it in memory.
    """

    task_id: int
    eval_id: int
    retry_idx: int
    losses: int = 0
    payload: bytes | None = None


@dataclasses.dataclass(slots=True)
class Completion:
    """What became of a lease.

    `done` has a result; `failed` and `retried` a RolloutSystemError, after the last attempt or
    with `retry_delay` seconds until the next one; `fatal` ends the eval; `requeued` puts the
    task back into the queue.

    Attributes:
        value: the pickled result or error.
        events: what the attempt recorded, as its recorder encoded it.
        error: what `value` holds of a system or fatal error, as an object, for this process.
        live: the task and its result as objects, for a driver in this process.
    """

    task_id: int
    eval_id: int
    outcome: LeaseEnd
    value: bytes | None = None
    events: bytes = b""
    retry_delay: float = 0.0
    usage: Usage | None = None
    error: BaseException | None = None
    live: tuple[Any, Any] | None = None


@dataclasses.dataclass(slots=True, frozen=True)
class ExchangeRequest:
    """What an executor hands in, and what it asks for, in one transaction.

    Attributes:
        executor_id: who asks.
        completions: what became of earlier leases.
        want: how many new leases it could take now.
        ready_evals: the evals it has opened.
        pool: the executors it belongs to (`in_process`, `multiprocess`, an engine's name). That
            in the driver has the tasks in memory; the leases of others carry the pickled task,
            and their results are logged for the driver to read.
        in_flight: how many leases it keeps, without those it hands in.
        losses: the most executors that have died under a task of these.
    """

    executor_id: int
    completions: Sequence[Completion]
    want: int
    ready_evals: Sequence[int]
    pool: str
    in_flight: int = 0
    losses: int = 0


@dataclasses.dataclass(slots=True, frozen=True)
class ExchangeReply:
    """What the queue answered.

    Attributes:
        leases: new leases, in the order of the queue.
        running: all running evals of the executor's pool: eval id → concurrency.
        executors: how many executors of that pool are running, this one included.
        rejected: the task ids of completions that had lost their lease; nothing was written.
        next_due: seconds until the next waiting retry may start, None when none waits.
        fenced: the executor was declared dead; its tasks run elsewhere and it must stop.
    """

    leases: list[Lease]
    running: dict[int, int | None]
    executors: int = 1
    rejected: frozenset[int] = frozenset()
    next_due: float | None = None
    fenced: bool = False


@dataclasses.dataclass(slots=True, frozen=True, kw_only=True)
class NewEval:
    """An eval to be queued. `arguments` and `origin` are JSON texts."""

    name: str
    run_id: str
    pool: str
    concurrency: int | None
    model_name: str | None
    arguments: str
    origin: str
    spec: bytes | None
    encoder: bytes


@dataclasses.dataclass(slots=True, frozen=True)
class EvalRow:
    """An eval as the state file has it. `arguments`, `origin` and `summary` are JSON texts.

    Attributes:
        listed: 0 until all its tasks are in the file.
        error: what ended it, as `dump_failure` has it.
        unrecorded: 1 while events of it wait to be recorded: for good where the recorder failed.
        usage: what its attempts have spent.
    """

    id: int
    name: str
    run_id: str
    state: str
    pool: str
    listed: int
    concurrency: int | None
    total: int
    queued: int
    leased: int
    done: int
    failed: int
    retries: int
    model_name: str | None
    created_at: float
    elapsed: float
    record_position: str
    arguments: str
    origin: str
    summary: str | None
    error: bytes | None
    unrecorded: int
    usage: Usage


class StoredSpec(NamedTuple):
    """What executors elsewhere load an eval from, pickled; no `spec` where it cannot be.

    `origin` says where its classes were defined, as `describe_origin` has it.
    """

    spec: bytes | None
    encoder: bytes
    origin: str


class StoredTask(NamedTuple):
    """A task: its identity, and what is stored of it and its result where that was asked for."""

    task_id: int
    question_id: str
    attempt_id: int
    retry_idx: int
    payload: bytes | None
    value: bytes | None

    @property
    def identity(self) -> tuple[str, int]:
        return self.question_id, self.attempt_id


@dataclasses.dataclass(slots=True, frozen=True)
class ResultBatch:
    """Final results that one executor committed together: (task id, pickled result) pairs."""

    seq: int
    eval_id: int
    results: list[tuple[int, bytes]]


@dataclasses.dataclass(slots=True, frozen=True)
class ExecutorRow:
    """An executor as the state file has it; `gauges` and `running` are JSON texts.

    `log` is where its output goes: a path on `host`, '' where that is the driver's own.
    """

    id: int
    name: str
    pool: str
    pid: int
    host: str
    state: str
    started_at: float
    heartbeat_at: float
    in_flight: int
    gauges: str
    running: str
    log: str = ""


@dataclasses.dataclass(slots=True, frozen=True, kw_only=True)
class Heartbeat:
    """What an executor says of itself now and then; `gauges` and `running` are JSON texts."""

    executor_id: int
    in_flight: int
    gauges: str = "{}"
    running: str = "[]"


@dataclasses.dataclass(slots=True, frozen=True)
class FailedAttempt:
    """An attempt that ended in a system error, which `value` holds as `failures` pickled it."""

    task_id: int
    finished_at: float
    eval_id: int
    question_id: str
    attempt_id: int
    retry_idx: int
    value: bytes | None
