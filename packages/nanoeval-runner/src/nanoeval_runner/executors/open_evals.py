"""An eval whose context is entered, in one executor."""

from __future__ import annotations

import asyncio
import contextvars
import random
from typing import TYPE_CHECKING

from nanoeval_core.run_context import RunContext, set_run_context

if TYPE_CHECKING:
    from nanoeval_runner.executors.attempts import Attempt
    from nanoeval_runner.executors.protocol import EvalHandle


class OpenEval:
    """Enters the eval's context in an asyncio task of its own, and leaves it in the same one.

    Attributes:
        ready: whether the context is entered, so that tasks may be claimed.
        attempts: what runs now.
        context: what attempts run in a copy of: they see context variables set by `_context`.
    """

    def __init__(self, eval_id: int, handle: EvalHandle, run_context: RunContext) -> None:
        self.eval_id = eval_id
        self.handle = handle
        self.name = handle.eval.get_name()
        self.ready = False
        self.attempts: dict[int, Attempt] = {}
        self.rng = random.Random(f"{handle.runner.seed}/{run_context.executor}")
        self.context = contextvars.copy_context()
        self._run_context = run_context
        self._close = asyncio.Event()

    async def serve(self, on_ready: asyncio.Event) -> None:
        """Hold the context open until `close` is called.

        Raises:
            Exception: whatever entering or leaving the context raised.
        """
        set_run_context(self._run_context)
        async with self.handle.eval:
            self.context = contextvars.copy_context()
            self.ready = True
            on_ready.set()
            await self._close.wait()
            self.ready = False

    def close(self) -> None:
        self._close.set()
