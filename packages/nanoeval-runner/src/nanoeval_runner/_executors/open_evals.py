"""An eval whose context is entered, in one executor."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from nanoeval_core.run_context import RunContext, set_run_context

if TYPE_CHECKING:
    from nanoeval_runner._executors.attempts import Attempt
    from nanoeval_runner._executors.protocol import EvalHandle

log = logging.getLogger("nanoeval.runner")


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
        self._recorder_failed = False

    async def serve(self, on_ready: Callable[[], None]) -> None:
        """Hold the context open until `close` is called; `on_ready` is called once it is.

        Raises:
            Exception: whatever entering or leaving the context raised.
        """
        set_run_context(self._run_context)
        async with self.handle.eval:
            self.context = contextvars.copy_context()
            self.ready = True
            on_ready()
            await self._close.wait()
            self.ready = False

    def recorder_failed(self, error: Exception) -> None:
        """Say so, the first time: results are worth more than their record."""
        if not self._recorder_failed:
            self._recorder_failed = True
            log.error(
                "the recorder of eval %r failed in an attempt (%s: %s). The run goes on and keeps "
                "every result; what such attempts recorded is lost",
                self.name,
                type(error).__name__,
                error,
            )

    def report_leaving(self, error: Exception) -> None:
        """Say what leaving the context raised: the run may have ended without waiting for it."""
        if self._close.is_set():
            log.error(
                "executor %s could not leave the context of eval %r (%s: %s). Its results are kept",
                self._run_context.executor,
                self.name,
                type(error).__name__,
                error,
            )

    def close(self) -> None:
        self._close.set()
