"""The seam for engines: what starts executors elsewhere, such as on a cluster.

An engine is an `ExecutorConfig` that a package registers in the entry-point group
`nanoeval.executors`. It starts processes that call `nanoeval_runner.remote_executor.
serve_executor`, and carries their messages to `ExecutorHost.handle`. Queue, leases, wake-ups,
records and retries are the runner's.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Protocol

from nanoeval_core.by_name import entry_point_names, load_entry_point
from nanoeval_core.errors import ConfigError

ENTRY_POINT_GROUP = "nanoeval.executors"
IN_PROCESS = "in_process"
MULTIPROCESS = "multiprocess"
BUILT_IN = (IN_PROCESS, MULTIPROCESS)


class ExecutorHost(Protocol):
    """What an engine gets of the driver. All of it is used on the driver's event loop."""

    @property
    def run_set_id(self) -> str: ...

    async def handle(self, message: bytes) -> bytes:
        """Return the reply to a message of an executor, for some messages only after a while."""

    async def lost(self, executor: str, reason: str) -> bool:
        """Give the tasks of the executor of that name to others, now: it is gone.

        Returns:
            whether to start another in its place, under a new name.
        """

    def start_task(self, coroutine: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run `coroutine` until the run ends, which waits for it; what it raises ends the run."""

    def fail(self, error: BaseException) -> None:
        """Note that the engine cannot go on; `run` raises `error`."""


class ExecutorEngine(Protocol):
    """Starts executors, and ends them."""

    async def grow(self, size: int | None) -> None:
        """Have at least `size` executors, or as many as is sensible. Called for each eval."""

    async def stop(self) -> None:
        """End the executors that are left, all having been told to stop, and leave."""

    def kill(self) -> None:
        """End every executor, now. May be called from a signal handler, and more than once."""


class ExecutorConfig(ABC):
    """Which engine runs the tasks, and how. Subclass it as a chz class.

    Attributes:
        name: of the engine, as the entry point has it.
    """

    name: ClassVar[str]

    @abstractmethod
    def engine(self, host: ExecutorHost) -> ExecutorEngine:
        """Return the engine, not started yet. Called once per run set.

        Raises:
            ConfigError: it cannot work here.
        """


def executor_names() -> list[str]:
    """Return the names that `RunnerArgs.executor` may have, sorted."""
    return sorted({*BUILT_IN, *entry_point_names(ENTRY_POINT_GROUP)})


def find_executor(name: str) -> Callable[..., ExecutorConfig]:
    """Return what `name` stands for in the entry-point group `nanoeval.executors`.

    Raises:
        ConfigError: no installed package registers that name.
    """
    found: Callable[..., ExecutorConfig] | None = load_entry_point(ENTRY_POINT_GROUP, name)
    if found is not None:
        return found
    hint = '; `pip install "nanoeval[ray]"` brings ray' if name == "ray" else ""
    raise ConfigError(
        f"RunnerArgs.executor={name!r}: no such executor is installed, choose one of "
        f"{', '.join(executor_names())}{hint}"
    )


__all__ = [
    "BUILT_IN",
    "ENTRY_POINT_GROUP",
    "IN_PROCESS",
    "MULTIPROCESS",
    "ExecutorConfig",
    "ExecutorEngine",
    "ExecutorHost",
    "executor_names",
    "find_executor",
]
