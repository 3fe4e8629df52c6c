"""An eval that records, for runs that are killed and resumed: importable by name.

`main` runs it in a process of its own, as the JSON in its first argument says.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import chz
from nanoeval import Eval, EvalSpec, RolloutSystemError, RunnerArgs, Task, run
from nanoeval.recorder import get_recorder
from nanoeval_core.recorder_protocol import RecorderConfig
from nanoeval_recorder import evallib_recorder, json_recorder


@chz.chz
class RecordedEval(Eval[Task, bool]):
    """Each attempt records a sampling and two matches, and notes that it ran.

    Args:
        n: questions.
        size: characters of each sampling.
        fails: how often each attempt first ends in a system error, after it recorded a match.
        notes: a folder where each attempt that runs leaves a file of its own; None for none.
        hold_after: attempts (by notes) after which further ones never end, unless the file `go`
            is in `notes`; None for none.
        begin: a file that attempts wait for; None to begin at once.
    """

    n: int = 20
    size: int = 10
    fails: int = 0
    notes: str | None = None
    hold_after: int | None = None
    begin: str | None = None

    def get_name(self) -> str:
        return "recorded"

    async def get_tasks(self) -> list[Task]:
        return [Task(question_id=f"q{i}") for i in range(self.n)]

    async def evaluate(self, task: Task) -> bool:
        while self.begin is not None and not os.path.exists(self.begin):  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)  # no event comes from the test's process
        recorder = get_recorder()
        recorder.record_sampling(task.name, [task.name * self.size])
        recorder.record_match(True, expected=task.name, picked=task.name, part=1)
        if task.retry_idx < self.fails:
            raise RolloutSystemError("not yet")
        if self.notes is not None:
            await self._note(task, Path(self.notes))
        recorder.record_match(True, expected=task.name, picked=task.name, part=2)
        return True

    async def _note(self, task: Task, notes: Path) -> None:
        held = self.hold_after is not None and len(os.listdir(notes)) >= self.hold_after
        if held and not (notes / "go").exists():
            await asyncio.Event().wait()  # until the process is killed
        (notes / f"{task.name}.{os.getpid()}").touch()

    async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
        return {"accuracy": float(all(result for _, result in results)), "n": len(results)}


def make_spec(
    recorder: RecorderConfig | None, *, runner: dict[str, Any] | None = None, **eval: Any
) -> EvalSpec:
    args = {"should_backup": False, "enable_slackbot": False, **(runner or {})}
    return EvalSpec(eval=RecordedEval(**eval), runner=RunnerArgs(recorder=recorder, **args))


def main() -> None:
    config = json.loads(sys.argv[1])
    recorders = {"evallib": evallib_recorder, "json": json_recorder}
    recorder = recorders[config.pop("recorder")](**config.pop("options", {}))
    print(json.dumps(asyncio.run(run(make_spec(recorder, **config)))))
