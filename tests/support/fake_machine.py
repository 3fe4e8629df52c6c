"""A machine that only answers what a set-up asks, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import os
from abc import ABC
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any

import chz
from nanoeval.solvers.computer_tasks.code_execution_interface import (
    ComputerConfiguration,
    ComputerInterface,
    ComputerRuntime,
    ExecutionResult,
    JupyterComputerInterface,
    JupyterExecutionResult,
    RuntimeConfig,
)
from nanoeval.solvers.computer_tasks.solver import (
    DummyPythonCodingSolver,
    PythonCodingEval,
    PythonCodingSolver,
)
from nanoeval.solvers.computer_tasks.steps import FinalResult, Step
from nanoeval.solvers.computer_tasks.task import ComputerTask, Grade
from pydantic import Field

Answer = Callable[[str], tuple[int, bytes]]


class FakeComputer(ComputerInterface):
    def __init__(self, cwd: str = "/root", answer: Answer | None = None) -> None:
        self.cwd = cwd
        self.answer = answer
        self.commands: list[tuple[str, bool]] = []
        self.files: dict[str, bytes] = {}
        self.stopped = False

    async def disable_internet(self) -> None:
        pass

    async def upload(self, file: bytes, destination: str) -> None:
        self.files[destination] = file

    async def download(self, file: str) -> bytes:
        return self.files[file]

    async def send_shell_command(self, cmd: str, *, idempotent: bool = False) -> ExecutionResult:
        self.commands.append((cmd, idempotent))
        if self.answer is not None:
            code, output = self.answer(cmd)
            return ExecutionResult(output=output, exit_code=code)
        output = f"{self.cwd}\n".encode() if "pwd" in cmd else b""
        return ExecutionResult(output=output, exit_code=0)

    async def fetch_container_names(self) -> list[str]:
        return []

    async def stop(self) -> None:
        self.stopped = True


class FakeJupyterComputer(FakeComputer, JupyterComputerInterface):
    def __init__(self, **results: Any) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.result = {"status": "success", "output": "", "final_expression_output": None}
        self.result.update(results)

    async def execute(
        self,
        code: str,
        timeout: int = 120,  # noqa: ASYNC109
    ) -> JupyterExecutionResult:
        self.cells.append(code)
        return JupyterExecutionResult(**self.result)


@chz.chz
class FakeRuntime(ComputerRuntime):
    computer: ComputerInterface = chz.field(default_factory=FakeComputer)
    calls: list[str] = chz.field(default_factory=list)

    @contextlib.asynccontextmanager
    async def _start_computer(
        self, task: ComputerConfiguration
    ) -> AsyncIterator[ComputerInterface]:
        self.calls.append("start")
        try:
            yield self.computer
        except BaseException as error:
            self.calls.append(f"left with {type(error).__name__}")
            raise
        else:
            self.calls.append("left")

    async def _do_runtime_setup(
        self, task: ComputerConfiguration, computer: ComputerInterface
    ) -> None:
        self.calls.append("runtime setup")


class NumberTask(ComputerTask):
    """Graded by a number that the solver has left."""

    wanted: int = 1
    calls: list[str] = Field(default=[])

    async def _setup(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> None:
        self.calls.append("task setup")

    async def grade(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> Grade:
        found = await computer.download("/root/number")
        return Grade(score=float(found == str(self.wanted).encode()), grader_log=f"{found!r}")


def number_task(question_id: str = "q", **fields: Any) -> NumberTask:
    return NumberTask(
        question_id=question_id, prompt=[{"role": "user", "content": "a number"}], **fields
    )


@chz.chz
class NumberSolver(PythonCodingSolver):
    """Writes a number and has it graded; a runtime as a client's solver holds it."""

    computer_runtime: ComputerRuntime = chz.field(default_factory=FakeRuntime)
    number: int = 1
    trace: str = os.devnull

    def shortname(self) -> str:
        return "number"

    async def run(self, task: ComputerTask) -> AsyncGenerator[Step | FinalResult, None]:
        async with self.computer_runtime.run(task) as computer:
            try:
                await computer.upload(str(self.number).encode(), "/root/number")
                grade = await task.grade(
                    computer=computer, runtime_config=self.computer_runtime.runtime_config
                )
                yield FinalResult(grade=grade)
                self._note("went on")
            finally:
                self._note("cleaned up")

    def _note(self, text: str) -> None:
        with open(self.trace, "a") as file:
            file.write(f"{text}\n")


@chz.chz
class NumberEval(PythonCodingEval):
    names: Sequence[str] = ("a", "b")

    def get_name(self) -> str:
        return f"numbers-{self.solver.shortname()}"

    async def get_instances(self) -> list[ComputerTask]:
        return [number_task(name) for name in self.names]


@chz.chz
class OwnTasks(PythonCodingEval):
    tasks: Sequence[ComputerTask] = ()

    def get_name(self) -> str:
        return "own-tasks"

    async def get_instances(self) -> Sequence[ComputerTask]:
        return self.tasks


@chz.chz
class OwnEvaluate(NumberEval, ABC):
    """As SWE-Lancer does it: `evaluate` overridden, `super().get_tasks()` called."""

    async def get_tasks(self) -> Sequence[ComputerTask]:
        return await super().get_tasks()

    async def evaluate(self, task: ComputerTask) -> FinalResult:
        async for step in self.solver.run(task):
            if isinstance(step, FinalResult):
                return step
        raise ValueError("no result")


@chz.chz
class FailsUntil(DummyPythonCodingSolver):
    """Ends the eval until a file exists."""

    flag: str

    async def run(self, task: ComputerTask) -> AsyncGenerator[Step | FinalResult, None]:
        if task.question_id == "b" and not os.path.exists(self.flag):  # noqa: ASYNC240
            raise KeyError("not yet")
        yield FinalResult(grade=Grade(score=1, grader_log="won"))
