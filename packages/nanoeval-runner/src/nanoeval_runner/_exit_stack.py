"""`async with global_exit_stack:` keeps executors alive between runs."""

from __future__ import annotations

from types import TracebackType

from nanoeval_runner._engine_registry import engines


class GlobalExitStack:
    """While entered, engines of this event loop outlive the runs that opened them.

    Its exit closes them, and raises what made an executor crash.
    """

    async def __aenter__(self) -> GlobalExitStack:
        engines.hold()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        failures = await engines.let_go()
        if failures and exc is None:
            raise failures[0]


global_exit_stack = GlobalExitStack()
"""Stateless: what it keeps is owned by `engine_registry.engines`, per event loop."""
