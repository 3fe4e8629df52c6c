"""Evals as people have written them for nanoeval, importable by executor processes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import chz
from nanoeval.eval import Eval, RolloutSystemError, Task
from nanoeval.library_config import LibraryConfig
from nanoeval.recorder import get_recorder


class Item(Task):
    group_id: str = "a field of the eval's own"
    parts: list[str] = []  # noqa: RUF012  pydantic copies it


@chz.chz
class Diary(Eval[Item, str]):
    """Writes down what happens to it, a line at a time: executors share the file."""

    path: Path
    n: int = 3
    attempts: int = 1
    fail: dict[str, int] = chz.field(default_factory=dict, doc="System errors before success.")
    raises: str = ""
    state: list[str] = chz.field(default_factory=list)
    grows: bool = False
    records_in_context: bool = False
    switch: Path | None = chz.field(default=None, doc="q2 fails while this file exists.")

    def note(self, what: str, **more: Any) -> None:
        line = json.dumps({"what": what, "pid": os.getpid(), **more}) + "\n"
        with self.path.open("a") as file:
            file.write(line)

    def get_name(self) -> str:
        return "diary"

    @contextlib.asynccontextmanager
    async def _context(self) -> AsyncGenerator[None, None]:
        self.note("enter")
        if self.records_in_context:
            self.note("recorder", name=type(get_recorder()).__name__)
        yield
        self.note("leave")

    async def get_tasks(self) -> Sequence[Item]:
        self.note("get_tasks")
        self.state.append("set by get_tasks")
        return [
            Item(question_id=f"q{i}", attempt_id=a)
            for a in range(self.attempts)
            for i in range(self.n)
        ]

    async def evaluate(self, task: Item) -> str:
        self.note("evaluate", task=task.name, retry=task.retry_idx, state=list(self.state))
        if self.grows:
            self.state.append(task.name)
        assert task.parts == [], "an attempt has a copy of its own"
        task.parts.append("changed by an attempt")
        if task.retry_idx < self.fail.get(task.question_id, 0):
            raise RolloutSystemError(f"down {task.retry_idx}")
        if self.raises and task.question_id == "q0":
            raise {"key": KeyError, "value": ValueError}[self.raises]("boom")
        if self.switch is not None and self.switch.exists() and task.question_id == "q2":
            raise ValueError("broken")
        self.note("evaluated", task=task.name)
        recorder = get_recorder()
        recorder.record_match(True, expected="x", picked=task.question_id)
        return f"result of {task.question_id}"

    async def update_progress(self, partial_results: Any, pbar: Any) -> None:
        pbar.set_postfix(n=len(partial_results))
        self.note("progress", n=len(partial_results))

    async def get_full_summary(
        self, results: list[tuple[Item, str | RolloutSystemError]]
    ) -> dict[str, Any]:
        self.note("summary", n=len(results))
        return {
            "results": [
                [task.name, task.retry_idx, task.parts, str(result), type(result).__name__]
                for task, result in results
            ]
        }


class Hooks(LibraryConfig):
    """Writes its calls to a file, in every process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, what: str, **more: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"what": what, "pid": os.getpid(), **more}) + "\n")

    def setup_logging(self) -> None:
        super().setup_logging()
        self.note("setup_logging")

    async def send_user_notification(self, message: str, extra: str | None = None) -> None:
        self.note("notification", message=message, extra=extra)

    @contextlib.contextmanager
    def set_recorder_context(self, rec: Any, sample_id: str, group_id: str) -> Any:
        self.note("enter", sample=sample_id, group=group_id)
        with rec.as_default_recorder(sample_id, group_id):
            yield
        self.note("leave", sample=sample_id, group=group_id)

    def get_slack_tqdm(self, username: str | None) -> Any:
        self.note("slack", username=username)
        return None
