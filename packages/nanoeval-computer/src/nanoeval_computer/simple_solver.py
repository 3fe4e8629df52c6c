"""Solvers that do one thing in the machine and are graded: the least that a solver can be."""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import AsyncGenerator, Sequence

import chz
from nanoeval_core import RolloutSystemError

from nanoeval_computer.code_execution_interface import ComputerInterface, ComputerRuntime
from nanoeval_computer.solver import PythonCodingSolver
from nanoeval_computer.steps import FinalResult, Step
from nanoeval_computer.task import ComputerTask

__all__ = ["ComputerRuntimeSolver", "DummySolver", "SimpleSolver", "UserSolver"]


@chz.chz
class ComputerRuntimeSolver(PythonCodingSolver):
    """A solver that starts its machines with a runtime."""

    runtime: ComputerRuntime = chz.field(doc="What starts the machines.")

    async def check_tasks(self, tasks: Sequence[ComputerTask]) -> None:
        await self.runtime.check_tasks(tasks)


@chz.chz
class SimpleSolver(ComputerRuntimeSolver):
    """Override `solve`: what it leaves in the machine is graded."""

    timeout: int = chz.field(default=3600, doc="Seconds from the machine's start to the grade.")

    @abstractmethod
    async def solve(self, task: ComputerTask, computer: ComputerInterface) -> None:
        """Work on `task` in `computer`."""

    async def run(self, task: ComputerTask) -> AsyncGenerator[Step | FinalResult, None]:
        try:
            async with contextlib.AsyncExitStack() as stack:
                async with asyncio.timeout(self.timeout):
                    computer = await stack.enter_async_context(self.runtime.run(task))
                    await self.solve(task, computer)
                    grade = await task.grade(computer, self.runtime.runtime_config)
                # While the machine is alive, and no timer runs that could end the reader.
                yield FinalResult(grade=grade)
        except Exception as error:
            raise RolloutSystemError(str(error) or type(error).__name__) from error


async def result_of(solver: SimpleSolver, task: ComputerTask) -> FinalResult:
    """Have `solver` work on `task` outside of a run, and return how it ended."""
    async with contextlib.aclosing(solver.run(task)) as steps:
        async for step in steps:
            if isinstance(step, FinalResult):
                return step
    raise AssertionError("a SimpleSolver yields a result, or raises")


@chz.chz
class DummySolver(SimpleSolver):
    """Writes a file and has itself graded."""

    name: str = chz.field(default="DummySolver", doc="A name for it.")

    def shortname(self) -> str:
        return "dummy-solver"

    async def solve(self, task: ComputerTask, computer: ComputerInterface) -> None:
        await computer.upload(b"test", f"{task.cwd.rstrip('/')}/test.txt")


@chz.chz
class UserSolver(SimpleSolver):
    """A person types commands into the machine until `exit` or `quit`: the human baseline."""

    name: str = chz.field(default="UserSolver", doc="A name for it.")

    def shortname(self) -> str:
        return "user-solver"

    async def solve(self, task: ComputerTask, computer: ComputerInterface) -> None:
        for message in task.prompt:
            print(f"{message['role']}: {message.get('content')}")  # noqa: T201  a dialogue
        while True:
            try:
                command = await asyncio.to_thread(input, "$ ")
            except EOFError:
                return
            if command.strip() in ("exit", "quit"):
                return
            result = await computer.send_shell_command(command)
            print(result.unicode_output_best_effort, end="")  # noqa: T201
            if result.exit_code != 0:
                print(f"[exit code {result.exit_code}]")  # noqa: T201
