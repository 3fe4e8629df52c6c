"""A run to watch: most tasks end at once, the last ones when standard input closes.

Started as a script by the tests: `live_eval.py TASKS HELD [use_monitor] [run_set_id=ID]`.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from typing import Any

import chz
from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.eval import Eval
from nanoeval_core.recorder import get_recorder
from nanoeval_core.run_context import get_run_context
from nanoeval_core.spec import EvalSpec, RunnerArgs
from nanoeval_core.task import Task
from nanoeval_core.usage import Usage, report_usage
from nanoeval_runner import run


class SlowDownError(RolloutSystemError):
    pass


@functools.cache
def released() -> asyncio.Future[bytes]:
    """Done when standard input ends."""
    loop = asyncio.get_running_loop()
    return asyncio.ensure_future(loop.run_in_executor(None, sys.stdin.buffer.read))


@chz.chz
class Watched(Eval[Task, bool]):
    tasks: int
    held: int

    def get_name(self) -> str:
        return "watched"

    async def get_tasks(self) -> list[Task]:
        return [Task(question_id=f"q{number:04}") for number in range(self.tasks)]

    async def evaluate(self, task: Task) -> bool:
        number = int(task.question_id[1:])
        if number % 10 == 3 and task.retry_idx == 0:
            raise SlowDownError(f"429 for {task.question_id}: <b>slow down</b>")
        if number >= self.tasks - self.held:
            await asyncio.shield(released())
        context = get_run_context()
        if context is not None:
            context.gauges["endpoint limit"] = 37.0
        report_usage(Usage(requests=1, prompt_tokens=100, completion_tokens=20, cost=0.001))
        correct = number % 4 != 0
        recorder = get_recorder()
        recorder.record_sampling(f"Question {number}?", [f"Reply {number}"])
        recorder.record_match(correct, expected="A", picked="A" if correct else "B")
        return correct

    async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
        return {"accuracy": sum(one for _, one in results) / max(1, len(results))}


async def main(tasks: int, held: int, more: list[str]) -> None:
    named = [one.partition("=")[2] for one in more if one.startswith("run_set_id=")]
    runner = RunnerArgs(
        concurrency=64,
        use_monitor="use_monitor" in more,
        run_set_id=named[0] if named else None,
        should_backup=False,
        retry_backoff=0.0,
    )
    await run(EvalSpec(eval=Watched(tasks=tasks, held=held), runner=runner))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
