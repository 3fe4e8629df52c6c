"""One attempt of a solver or an eval, with all that it records and spends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from nanoeval_core.recording import BaseRecorder, DummyRecorder
from nanoeval_core.usage import Usage, current_usage_meter

T = TypeVar("T")


class Kept(DummyRecorder):
    """Keeps what is recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.matches: list[dict[str, Any]] = []
        self.samplings: list[dict[str, Any]] = []
        self.extras: list[Any] = []

    as_default_recorder = BaseRecorder.as_default_recorder

    def record_match(self, correct: bool, **data: Any) -> None:
        self.matches.append({"correct": correct, **data})

    def record_sampling(self, prompt: Any, sampled: Any, **extra: Any) -> None:
        self.samplings.append({"prompt": prompt, "sampled": sampled, **extra})

    def record_extra(self, data: Any) -> None:
        self.extras.append(data)


class Attempt(Generic[T]):
    """What awaiting something gave, recorded and spent."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self.recorder = Kept()
        self.usage = Usage()
        self.result: T = asyncio.run(self._run(work))

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        current_usage_meter.set(self)
        with self.recorder.as_default_recorder("q", "1.0"):
            return await work

    def add(self, usage: Usage) -> None:
        """It is its own meter."""
        self.usage += usage
