"""An eval in one executor: its context, entered and left, and the attempts in it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from nanoeval_core.library_config import LibraryConfig, get_library_config
from nanoeval_core.recording import recorder as current_recorder
from nanoeval_core.run_context import RunContext, set_run_context

from nanoeval_runner._garbage import collected_rarely

if TYPE_CHECKING:
    from nanoeval_runner._executors.attempts import Attempt
    from nanoeval_runner._executors.source import LoadedEval

log = logging.getLogger("nanoeval.runner")


class OpenEval:
    """Enters the eval's context in an asyncio task of its own, and leaves it in the same one.

    Attributes:
        doing: `entering` or `leaving` its context; empty while tasks may be claimed.
        since: when it began that, in monotonic seconds.
        attempts: what runs now, by task id.
        context: what attempts run in a copy of: they see context variables set by `_context`.
    """

    def __init__(
        self, eval_id: int, loaded: LoadedEval, run_context: RunContext, *, in_driver: bool
    ) -> None:
        self.eval_id = eval_id
        self.loaded = loaded
        self.in_driver = in_driver
        self.name = loaded.eval.get_name()
        self.executor = run_context.executor
        self.doing = "entering"
        self.since = time.monotonic()
        self.attempts: dict[int, Attempt] = {}
        self.rng = random.Random(f"{loaded.runner.seed}/{run_context.executor}")
        self.context = contextvars.copy_context()
        self.records_completion = loaded.encoder.records_completion
        hooks = get_library_config()
        self.recorder_context = (
            None
            if type(hooks).set_recorder_context is LibraryConfig.set_recorder_context
            else hooks.set_recorder_context
        )
        self._run_context = run_context
        self._close = asyncio.Event()
        self._recorder_failed = False
        self._recorder = loaded.encoder.attempt(None, None)

    @property
    def ready(self) -> bool:
        """Whether the context is entered, so that tasks may be claimed."""
        return not self.doing and not self._close.is_set()

    async def serve(self, on_ready: Callable[[], None]) -> None:
        """Hold the context open until `close` is called; call `on_ready` once it is.

        Raises:
            BaseException: whatever entering or leaving the context raised.
        """
        set_run_context(self._run_context)
        if not self.in_driver:
            current_recorder.set(self._recorder)
        with collected_rarely(self.loaded.runner.gc_threshold):
            async with self.loaded.eval:
                self.context = contextvars.copy_context()
                self.doing = ""
                on_ready()
                await self._close.wait()
                self.doing, self.since = "leaving", time.monotonic()

    def take_events(self) -> bytes:
        """Return what was recorded outside of attempts, in `_context`; to be committed with one."""
        return self._recorder.take(completed=True)

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

    def close(self) -> None:
        self._close.set()
