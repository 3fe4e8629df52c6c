"""A nanoeval that oaieval runs: it asks evallib's completion function."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import chz
from nanoeval import Eval, RolloutSystemError, Task
from nanoeval.evallib import complete, current_sample
from nanoeval.recorder import get_recorder


class Saying(Task):
    text: str


@chz.chz
class SayEval(Eval[Saying, bool]):
    n: int = 5
    seed: int = 0
    fail_first: bool = False
    word: str = "dummy"

    async def _context(self) -> AsyncGenerator[None, None]:
        self.__dict__["entered"] = self.__dict__.get("entered", 0) + 1
        yield

    def get_name(self) -> str:
        return "say"

    async def get_tasks(self) -> list[Saying]:
        return [Saying(question_id=f"q{i}", text=f"say {i}") for i in range(self.n)]

    async def evaluate(self, task: Saying) -> bool:
        recorder = get_recorder()
        random = current_sample().rng.random()
        recorder.record_extra({"random": random, "seed": self.seed, "nan": float("nan")})
        if self.fail_first and task.retry_idx == 0:
            recorder.record_match(True)
            raise RolloutSystemError("first")
        (reply,) = await complete([{"role": "user", "content": task.text}])
        usage = {"prompt_tokens": 2, "total_tokens": 2, "details": {"nested": 1}}
        recorder.record_sampling(task.text, reply, usage=usage)
        recorder.record_match(self.word in reply, expected=self.word, picked=reply)
        return self.word in reply

    async def get_summary(self, results: list[tuple[Saying, bool]]) -> dict[str, Any]:
        right = sum(correct for _, correct in results)
        entered = self.__dict__.get("entered", 0)
        return {"accuracy": right / max(1, len(results)), "n": len(results), "entered": entered}
