"""`async with global_exit_stack:` keeps run sets open between runs."""

from __future__ import annotations

import contextlib
from types import TracebackType

from nanoeval_runner._run_set import run_sets


class AsyncExitStack(contextlib.AsyncExitStack):
    """While it is entered, run sets of this event loop outlive the runs that opened them.

    Its exit closes them, and raises what made their executors crash, if nothing else is on its
    way. It may be entered again and again.
    """

    async def __aenter__(self) -> AsyncExitStack:
        run_sets().holds += 1
        return await super().__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        try:
            swallowed = await super().__aexit__(exc_type, exc, traceback)
        finally:
            failures = await run_sets().end_hold()
        if failures and exc is None:
            raise BaseExceptionGroup("executors crashed", failures)
        return bool(swallowed)


global_exit_stack = AsyncExitStack()
"""Holds nothing but what it was given: run sets belong to `run_sets()`, per event loop."""
