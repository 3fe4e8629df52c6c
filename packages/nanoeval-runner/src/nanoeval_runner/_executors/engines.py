"""Executors outside of the driver: the pool of processes, or those of an engine found by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from nanoeval_core.errors import ConfigError
from nanoeval_core.executors import IN_PROCESS, MULTIPROCESS, ExecutorConfig, find_executor
from nanoeval_core.spec import RunnerArgs

from nanoeval_runner._queue.store import Store


class Pool(Protocol):
    """Executors of one kind and run set, as the driver sees them."""

    async def grow(self, size: int | None) -> None:
        """Have at least `size` executors, or as many as is sensible."""

    def wake(self) -> None:
        """Something changed in the state file: every executor looks."""

    def fence(self, executor_id: int) -> None:
        """It went silent, and its tasks go to others: kill it if it can be killed from here."""

    def inspect(self) -> None:
        """Somebody wants to look: executors that can start a debugging monitor do so now."""

    async def stop(self) -> None:
        """Have every executor give back its tasks and leave its contexts; kill who does not."""

    def kill(self) -> None:
        """Kill every executor, now. Callable from anywhere, at any time."""


def check_executor(runner: RunnerArgs) -> None:
    """Raise `ConfigError` unless what `runner` names is installed."""
    if runner.executor_name not in (IN_PROCESS, MULTIPROCESS):
        _config(runner)


def _config(runner: RunnerArgs) -> ExecutorConfig:
    if isinstance(runner.executor, ExecutorConfig):
        return runner.executor
    config = find_executor(runner.executor_name)()
    if not isinstance(config, ExecutorConfig):
        raise ConfigError(
            f"RunnerArgs.executor={runner.executor!r}: its entry point gives a "
            f"{type(config).__name__}, not an ExecutorConfig; ask the package that registers it"
        )
    return config


def make_pool(
    runner: RunnerArgs,
    store: Store,
    group: asyncio.TaskGroup,
    on_change: Callable[[], None],
    on_failure: Callable[[BaseException], None],
) -> Pool:
    """The executors that `runner` names, none of them started yet.

    Args:
        on_change: called when an executor has committed results, or died.
        on_failure: called with an error when they cannot go on.
    """
    if runner.uses_multiprocessing:
        # Deferred: multiprocess is needed by the process pool only.
        from nanoeval_runner._executors.process_pool import (  # noqa: PLC0415
            ProcessPool,
        )

        return ProcessPool(store, group, on_change, on_failure)
    # Deferred: runs without an engine do not need it.
    from nanoeval_runner._executors.remote_pool import RemotePool  # noqa: PLC0415

    return RemotePool(_config(runner), store, group, on_change, on_failure)
