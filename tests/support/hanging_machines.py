"""A run whose machines stay up: `python -m … IMAGE|local FOLDER TASKS PROCESSES`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import chz
from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.recorder import dummy_recorder
from nanoeval.solvers.computer_tasks.containers import ContainerRuntime
from nanoeval.solvers.computer_tasks.local import LocalRuntime
from nanoeval.solvers.computer_tasks.simple_solver import ComputerRuntimeSolver
from nanoeval.solvers.computer_tasks.solver import PythonCodingEval
from nanoeval.solvers.computer_tasks.steps import FinalResult, Step
from nanoeval.solvers.computer_tasks.task import ComputerTask

from tests.support.fake_machine import number_task


@chz.chz
class Hanging(ComputerRuntimeSolver):
    folder: str

    def shortname(self) -> str:
        return "hanging"

    async def run(self, task: ComputerTask) -> AsyncGenerator[Step | FinalResult, None]:
        (Path(self.folder) / f"starting-{task.question_id}").touch()
        async with self.runtime.run(task) as computer:
            await computer.send_shell_command("true")
            (Path(self.folder) / f"up-{task.question_id}").touch()
            await asyncio.Event().wait()
            yield  # type: ignore[misc]  never reached: it makes this a generator


@chz.chz
class HangingEval(PythonCodingEval):
    image: str
    tasks: int

    def get_name(self) -> str:
        return "hanging"

    async def get_tasks(self) -> Sequence[ComputerTask]:
        return [number_task(f"t{n}", docker_image=self.image) for n in range(self.tasks)]


def main() -> None:
    image, folder, tasks, processes = sys.argv[1:]
    runtime = LocalRuntime() if image == "local" else ContainerRuntime(max_starting=5)
    solver = Hanging(runtime=runtime, folder=folder)
    pool: dict[str, Any] = {}
    if processes != "0":
        pool = {"experimental_use_multiprocessing": True, "num_processes": int(processes)}
    spec = EvalSpec(
        eval=HangingEval(solver=solver, image=image, tasks=int(tasks)),
        runner=RunnerArgs(recorder=dummy_recorder(), enable_slackbot=False, **pool),
    )
    asyncio.run(run(spec))


if __name__ == "__main__":
    main()
