"""A limit on how long a machine may take to start."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from nanoeval_computer.code_execution_interface import (
    ComputerConfiguration,
    ComputerInterface,
    ComputerRuntime,
)

__all__ = ["run_with_startup_timeout"]


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
