"""Limits of a rollout: actions, time, and time for what is not the rollout itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar

import chz
from nanoeval_core import RolloutSystemError

from nanoeval_computer.code_execution_interface import (
    ComputerConfiguration,
    ComputerInterface,
    ComputerRuntime,
)
from nanoeval_computer.pausable_timer import NamedTimeoutError, PausableTimer

__all__ = [
    "ActionLimitExceededError",
    "LimitsHelper",
    "SystemErrorDetected",
    "TotalTime",
    "current_timer",
    "run_with_startup_timeout",
]

MAX_TIME = "max_time"
TOTAL_SAMPLE = "total_sample"

current_timer: ContextVar[PausableTimer | None] = ContextVar("current_timer", default=None)
"""The timer of the innermost limit in force."""


class ActionLimitExceededError(Exception):
    """The rollout took as many actions as it may."""


class SystemErrorDetected(Exception):
    """Something in the machine failed that is not the agent's doing."""

    name: str
    text: str


class TotalTime:
    """The time of a rollout as a whole, machine and grading included.

    Only what runs within `counted` counts, and waits at an endpoint do not.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.used = 0.0

    @contextlib.asynccontextmanager
    async def counted(self) -> AsyncIterator[None]:
        """Count the time of the body.

        Raises:
            RolloutSystemError: together with what came before it took too long.
        """
        timer = PausableTimer(TOTAL_SAMPLE, max(0.0, self.seconds - self.used))
        try:
            async with timer:
                yield
        except NamedTimeoutError as error:
            if error.timeout_type != TOTAL_SAMPLE:
                raise
            raise RolloutSystemError(
                f"the rollout took longer than total_sample_timeout={self.seconds:g} seconds, "
                "machine and grading included"
            ) from error
        finally:
            self.used += timer.elapsed


@chz.chz
class LimitsHelper:
    """The limits of a rollout, in actions and seconds."""

    max_actions: int = chz.field(default=100, doc="Actions until the rollout is ended.")
    max_time_seconds: int = chz.field(default=3600, doc="Seconds of the rollout itself.")
    grading_timeout: int = chz.field(default=600, doc="Seconds that grading may take.")
    exception_handling_timeout: int = chz.field(
        default=600, doc="Seconds for what follows a rollout that failed."
    )
    total_sample_timeout: int = chz.field(
        default=14400, doc="Seconds of everything together, machine included."
    )
    validate_connection_limit: int = chz.field(
        default=300, doc="Seconds to find out whether the machine answers."
    )

    @chz.validate
    def _check_limits(self) -> None:
        for name in chz.chz_fields(LimitsHelper):
            if getattr(self, name) <= 0:
                raise AssertionError(
                    f"{type(self).__name__}.{name}={getattr(self, name)}: give more than 0"
                )
        needed = self.max_time_seconds + self.exception_handling_timeout
        if needed > self.total_sample_timeout - 10:
            raise AssertionError(
                f"{type(self).__name__}: max_time_seconds + exception_handling_timeout = {needed} "
                "must be at most total_sample_timeout - 10 = "
                f"{self.total_sample_timeout - 10}"
            )

    def total_time(self) -> TotalTime:
        """Return what counts the time of one rollout against `total_sample_timeout`."""
        return TotalTime(self.total_sample_timeout)

    @contextlib.asynccontextmanager
    async def enforce_timeout(
        self, timeout_type: str, timeout_seconds: float
    ) -> AsyncIterator[None]:
        """Limit the body to `timeout_seconds`; `NamedTimeoutError` tells which limit it was."""
        before = current_timer.get()
        async with PausableTimer(timeout_type, timeout_seconds) as timer:
            current_timer.set(timer)
            try:
                yield
            finally:
                current_timer.set(before)

    @contextlib.asynccontextmanager
    async def enforce_rollout_limits(self) -> AsyncIterator[Callable[[], None]]:
        """Limit the body's time, and give the function to call for each action.

        Raises:
            NamedTimeoutError: of type `max_time`.
            ActionLimitExceededError: from the call for action number `max_actions`.
        """
        actions = 0

        def count_action() -> None:
            nonlocal actions
            actions += 1
            if actions >= self.max_actions:
                raise ActionLimitExceededError(
                    f"the rollout took {actions} actions, as many as max_actions allows"
                )

        async with self.enforce_timeout(MAX_TIME, self.max_time_seconds):
            yield count_action


@contextlib.asynccontextmanager
async def run_with_startup_timeout(
    runtime: ComputerRuntime,
    task: ComputerConfiguration,
    timeout: float,  # noqa: ASYNC109  the published name
) -> AsyncIterator[ComputerInterface]:
    """Run a machine as `runtime.run(task)` does, with `timeout` seconds for start and set-up.

    What follows is not timed. On leaving, the runtime's context is closed without an exception,
    also where the body raised one, which goes on to the caller.

    Raises:
        TimeoutError: the machine was not ready in time; what there was of it is disposed of.
    """
    context = runtime.run(task)
    async with asyncio.timeout(timeout):
        computer = await context.__aenter__()
    try:
        yield computer
    finally:
        await context.__aexit__(None, None, None)
