"""Grading out of the agent's reach, and checking that tasks can be solved."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol, runtime_checkable

import chz
from nanoeval_core import RolloutSystemError

from nanoeval_computer.code_execution_interface import (
    ComputerConfiguration,
    ComputerInterface,
    ComputerRuntime,
    RuntimeConfig,
)
from nanoeval_computer.simple_solver import SimpleSolver, result_of
from nanoeval_computer.task import ComputerTask

__all__ = ["HasSolution", "NothingSolver", "OracleSolver", "check_solutions", "fresh_machine"]


COPY_SECONDS = 120.0
"""How long the copy of one file to a fresh machine may take."""


@contextlib.asynccontextmanager
async def fresh_machine(
    task: ComputerConfiguration, computer: ComputerInterface, paths: Sequence[str]
) -> AsyncIterator[ComputerInterface]:
    """Start a new machine for `task`, set up as the first was, and copy `paths` into it.

    Only regular files are copied, only those that are named, and only their content: whatever
    else an agent has left in its machine (other files, processes, changed programs) is not there.
    A path that is no regular file any more is not copied: in the new machine it is as the set-up
    left it. Put hidden tests into the new machine, not into the agent's.

    Raises:
        MachineLost: the agent's machine answers no more.
    """
    runtime: ComputerRuntime | None = getattr(computer, "runtime", None)
    if runtime is None:
        raise TypeError(
            f"fresh_machine needs a machine that knows its runtime, not a "
            f"{type(computer).__name__}: start one with the runtime yourself"
        )
    copies = {}
    for path in paths:
        # What is no file, or has no sane size, is not copied; nor what does not end, such as a FIFO
        # that a process of the agent puts in the file's place just now.
        with contextlib.suppress(OSError, ValueError):
            async with asyncio.timeout(COPY_SECONDS):
                copies[path] = await computer.download(path)
    async with contextlib.AsyncExitStack() as stack:
        try:
            fresh = await stack.enter_async_context(runtime.run(task))
            for path, content in copies.items():
                await fresh.upload(content, path)
        except (AssertionError, RuntimeError, OSError) as error:
            raise RolloutSystemError(f"no fresh machine to grade in: {error}") from error
        yield fresh


@runtime_checkable
class HasSolution(Protocol):
    """A task that knows how it is solved."""

    async def play_solution(
        self, computer: ComputerInterface, runtime_config: RuntimeConfig
    ) -> None:
        """Solve the task in `computer`, as an agent would."""


@chz.chz
class OracleSolver(SimpleSolver):
    """Plays each task's own solution: every task must score 1."""

    def shortname(self) -> str:
        return "oracle"

    async def solve(self, task: ComputerTask, computer: ComputerInterface) -> None:
        if isinstance(task, HasSolution):
            await task.play_solution(computer, self.runtime.runtime_config)


@chz.chz
class NothingSolver(SimpleSolver):
    """Does nothing: no task may score more than 0."""

    def shortname(self) -> str:
        return "nothing"

    async def solve(self, task: ComputerTask, computer: ComputerInterface) -> None:
        pass


async def check_solutions(
    tasks: Sequence[ComputerTask],
    runtime: ComputerRuntime,
    *,
    concurrency: int = 8,
    on_checked: Callable[[ComputerTask, Sequence[str]], None] | None = None,
) -> list[str]:
    """Return what is wrong with the tasks or their graders: a text for each problem.

    A task's own solution must score 1, and doing nothing must score 0. Tasks without a solution
    (`play_solution`) are checked for the second alone.

    Args:
        concurrency: tasks that are checked at the same time.
        on_checked: called with each task and its problems, as soon as they are known.
    """
    slots = asyncio.Semaphore(concurrency)

    async def check(task: ComputerTask) -> list[str]:
        problems = []
        async with slots:
            if isinstance(task, HasSolution):
                solved = await _score(OracleSolver(runtime=runtime), task)
                if solved != 1:
                    problems.append(f"task {task.name!r}: its own solution scores {solved}, not 1")
            untouched = await _score(NothingSolver(runtime=runtime), task)
            if untouched != 0:
                problems.append(f"task {task.name!r}: doing nothing scores {untouched}, not 0")
        if on_checked is not None:
            on_checked(task, problems)
        return problems

    async with asyncio.TaskGroup() as group:
        checks = [group.create_task(check(task)) for task in tasks]
    return [problem for check in checks for problem in check.result()]


async def _score(solver: SimpleSolver, task: ComputerTask) -> float | str:
    try:
        return (await result_of(solver, task)).grade.score
    except RolloutSystemError as error:
        return f"nothing ({error})"
