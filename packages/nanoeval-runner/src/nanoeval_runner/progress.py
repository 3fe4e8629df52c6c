"""What a person sees while an eval runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nanoeval_core.recorder_protocol import TransactionalRecorder

    from nanoeval_runner.engine import Engine
    from nanoeval_runner.eval_run import EvalRun


class Progress:
    """Placeholder until the display lands."""

    def __init__(self, run: EvalRun, engine: Engine, recorder: TransactionalRecorder) -> None:
        self._run = run

    async def serve(self) -> None:
        await asyncio.Event().wait()

    def finish(self, summary: dict[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass
