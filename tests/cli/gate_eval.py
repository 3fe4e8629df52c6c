"""An eval whose first tasks are over at once; the others wait until a file appears."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import chz
from nanoeval import Eval, EvalSpec, RolloutSystemError, RunnerArgs, Task, run
from nanoeval.setup import nanoeval_entrypoint
from nanoeval_core.usage import Usage, report_usage


@chz.chz
class Gate(Eval[Task, bool]):
    name: str = "gate"
    tasks: int = 10
    open: int = 4
    gate: str = chz.field(default_factory=lambda: os.environ["GATE"])
    says: str = ""
    breaks: bool = False
    waits_in: str = ""

    def get_name(self) -> str:
        return self.name

    async def _wait(self, where: str) -> None:
        second = f"{self.gate}.2"
        while self.waits_in == where and not os.path.exists(second):  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)  # the gate is opened by another process

    async def get_tasks(self) -> list[Task]:
        await self._wait("get_tasks")
        return [Task(question_id=f"q{i:03d}") for i in range(self.tasks)]

    async def evaluate(self, task: Task) -> bool:
        number = int(task.question_id[1:])
        if self.says and number == 0:
            print(self.says)
        if number == 1 and task.retry_idx == 0:
            raise RolloutSystemError("a hiccup")
        report_usage(Usage(requests=1, prompt_tokens=1000, completion_tokens=500, cost=0.25))
        while number >= self.open and not os.path.exists(self.gate):  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)  # the gate is opened by another process
        if self.breaks and number == self.open:
            raise KeyError("something in the eval")
        return number % 2 == 0

    async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
        await self._wait("get_summary")
        return {"accuracy": sum(r for _, r in results) / max(1, len(results))}


async def main(eval: Gate, runner: RunnerArgs, copies: int = 1) -> None:
    specs = [
        EvalSpec(eval=chz.replace(eval, name=f"{eval.name}{n or ''}"), runner=runner)
        for n in range(copies)
    ]
    await asyncio.gather(*map(run, specs))


if __name__ == "__main__":
    nanoeval_entrypoint(main)
