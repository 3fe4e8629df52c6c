"""Run a solver on a small task and print its steps: `… demo.agent solver=module:Class`."""

from __future__ import annotations

import asyncio
import os

import chz
from nanoeval_core.asyncio_utils import generator_with_cleanup
from nanoeval_core.recorder import dummy_recorder

from nanoeval_computer.demo.task import DemoTask
from nanoeval_computer.solver import PythonCodingSolver
from nanoeval_computer.steps import FinalResult

__all__ = ["demo", "main"]


async def demo(solver: PythonCodingSolver) -> None:
    """Let `solver` work on the task of the demonstration."""
    os.environ["NANOEVAL_LOG_ALL"] = "1"
    with dummy_recorder(log=False):
        async with solver, generator_with_cleanup(solver.run(DemoTask())) as steps:
            async for step in steps:
                print(step)  # noqa: T201  what it is for
                if isinstance(step, FinalResult):
                    return


def main() -> None:
    asyncio.run(chz.entrypoint(demo))
