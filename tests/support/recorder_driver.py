"""Stands in for the runner: what it calls on a recorder, in its order."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Iterable
from typing import Any

import chz
from nanoeval_core import Eval, EvalSpec, RunnerArgs, Task, get_recorder
from nanoeval_core.recorder import set_default_recorder
from nanoeval_core.recorder_adapter import as_transactional
from nanoeval_core.recorder_protocol import (
    BasicRunSpec,
    RecorderConfig,
    new_run_spec,
    using_run_spec,
)
from nanoeval_core.recording import TransactionalRecorder


@chz.chz
class Quiz(Eval[Task, bool]):
    n: int = 3
    model: str = "small"
    api_key: str = "none"

    def get_name(self) -> str:
        return "quiz.dev"

    async def get_tasks(self) -> list[Task]:
        return [Task(question_id=f"q{i}") for i in range(self.n)]

    async def evaluate(self, task: Task) -> bool:
        get_recorder().record_sampling(f"{task.question_id}?", ["yes"], usage={"tokens": 3})
        get_recorder().record_match(True, expected="yes", picked="yes")
        return True

    async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
        return {"accuracy": 1.0}


def ids(run_set_id: str = "set") -> BasicRunSpec:
    return new_run_spec(run_set_id=run_set_id, eval_name="quiz.dev")


def build(
    config: RecorderConfig, run_spec: BasicRunSpec | None = None, quiz: Quiz | None = None
) -> TransactionalRecorder:
    spec = EvalSpec(eval=quiz or Quiz(), runner=RunnerArgs(seed=7))
    with using_run_spec(run_spec or ids()):
        return as_transactional(asyncio.run(config.factory(spec, 3)))


def attempt(
    recorder: TransactionalRecorder,
    record: Callable[[Any], None],
    *,
    sample_id: str = "q0",
    group_id: str = "1.0",
    completed: bool = True,
) -> bytes:
    """What an executor sends for one attempt that does `record(get_recorder())`."""
    encoder = pickle.loads(pickle.dumps(recorder.encoder()))
    bound = encoder.attempt(sample_id, group_id)
    with set_default_recorder(bound):
        record(get_recorder())
    taken: bytes = bound.take(completed=completed)
    return taken


def quiz_attempts(recorder: TransactionalRecorder, questions: Iterable[int]) -> list[bytes]:
    def record(r: Any) -> None:
        r.record_sampling("p", ["yes"])
        r.record_match(True, expected="yes", picked="yes")

    return [attempt(recorder, record, sample_id=f"q{i}") for i in questions]
