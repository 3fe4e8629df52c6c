"""Start a machine and look around in it: `… demo.runtime runtime=module:Class`."""

from __future__ import annotations

import asyncio
import os

import chz
from nanoeval_core.async_breakpoint import abreakpoint

from nanoeval_computer.code_execution_interface import ComputerConfiguration, ComputerRuntime

__all__ = ["demo", "main"]


async def demo(runtime: ComputerRuntime) -> None:
    """Start a machine with `runtime`, say hello in it, and open a prompt that has `computer`."""
    os.environ["NANOEVAL_LOG_ALL"] = "1"
    async with runtime.run(ComputerConfiguration()) as computer:
        hello = await computer.check_shell_command("echo hello from the machine")
        print(hello.unicode_output_best_effort, end="")  # noqa: T201  what it is for
        await abreakpoint()


def main() -> None:
    asyncio.run(chz.entrypoint(demo))
