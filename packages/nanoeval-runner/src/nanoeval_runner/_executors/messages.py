"""What executors elsewhere and their driver say to each other, pickled."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

from nanoeval_runner._queue.rows import ExchangeRequest, Heartbeat


@dataclasses.dataclass(frozen=True, slots=True)
class Hello:
    """An executor has started. The reply is a `Welcome`, or None: it is to end."""

    name: str
    pid: int
    host: str
    log: str


@dataclasses.dataclass(frozen=True, slots=True)
class Welcome:
    """Attributes:
    executor_id: the executor's row in the state file.
    slot: its number among the executors; what replaces a dead one inherits it.
    library_config: the driver's, pickled.
    """

    executor_id: int
    pool: str
    slot: int
    run_set_id: str
    library_config: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Exchange:
    """The reply is an `ExchangeReply`."""

    request: ExchangeRequest


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """Ask for an eval, whose context is then opened. The reply is a `Loaded`."""

    eval_id: int
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """Attributes:
    spec: the pickled spec.
    encoder: the pickled event encoder of its recorder.
    origin: where its classes were defined, as `describe_origin` has it.
    """

    spec: bytes
    encoder: bytes
    origin: str


@dataclasses.dataclass(frozen=True, slots=True)
class Left:
    """The eval's context is left, or was never entered. The reply is None.

    Attributes:
        error: what ends the eval, as `dump_failure` has it; None when all went well.
    """

    eval_id: int
    name: str
    error: bytes | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Beat:
    """The reply is False when the executor was declared dead."""

    heartbeat: Heartbeat


@dataclasses.dataclass(frozen=True, slots=True)
class Wait:
    """Wait for something to do. The reply, which may take long, is whether to stop."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Bye:
    """The executor has given back its tasks and left its contexts. The reply is None."""

    name: str


Message = Hello | Exchange | Load | Left | Beat | Wait | Bye


def dump(value: Any) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def load(payload: bytes) -> Any:
    return pickle.loads(payload)
