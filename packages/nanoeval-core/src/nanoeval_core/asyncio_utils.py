"""Small async helpers that evals and solvers share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")
TValue = TypeVar("TValue")


class HasAsyncContextManagerWithValue(Generic[TValue]):
    """An async context manager written as one generator, whose `yield` gives the entered value.

    Override `_context` with an async generator that yields once: what comes before the yield is
    set-up, what comes after is clean-up. The object may be entered again, also while it is
    already entered; each exit closes the newest entry.
    """

    async def _context(self) -> AsyncGenerator[TValue, None]:
        raise NotImplementedError(f"{type(self).__name__} must override _context()")
        yield  # makes this a generator, as overrides are

    async def __aenter__(self) -> TValue:
        entered = self._context()
        # An override may already carry @asynccontextmanager.
        manager: contextlib.AbstractAsyncContextManager[TValue]
        if isinstance(entered, contextlib.AbstractAsyncContextManager):
            manager = entered
        else:
            manager = contextlib.asynccontextmanager(lambda: entered)()
        value = await manager.__aenter__()
        # Not `self._open = …`: chz objects are frozen, and this state is not configuration.
        self.__dict__.setdefault("_open_contexts", []).append(manager)
        return value

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        manager = self.__dict__["_open_contexts"].pop()
        return bool(await manager.__aexit__(exc_type, exc, traceback))

    def __getstate__(self) -> dict[str, Any]:
        # Open contexts belong to the process that opened them.
        return {k: v for k, v in self.__dict__.items() if k != "_open_contexts"}


class HasAsyncContextManager(HasAsyncContextManagerWithValue[Any]):
    """Like `HasAsyncContextManagerWithValue`, but entering gives the object itself."""

    async def _context(self) -> AsyncGenerator[None, None]:
        yield

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self


@contextlib.asynccontextmanager
async def generator_with_cleanup(
    generator: AsyncGenerator[T, None],
) -> AsyncIterator[AsyncGenerator[T, None]]:
    """Yield `generator`, and close it on the way out even when the loop over it was left early."""
    try:
        yield generator
    finally:
        await generator.aclose()


async def gather_with_concurrency(limit: int, *awaitables: Awaitable[T]) -> list[T]:
    """Await all of `awaitables`, at most `limit` at a time, and return their values in order.

    The first exception cancels the rest and is raised as it is.

    Raises:
        ValueError: `limit` is not positive.
    """
    if limit <= 0:
        raise ValueError(f"limit must be positive, got {limit}")
    semaphore = asyncio.Semaphore(limit)

    async def one(awaitable: Awaitable[T]) -> T:
        async with semaphore:
            return await awaitable

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(awaitable)) for awaitable in awaitables]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        for awaitable in awaitables:
            # A coroutine that never started would warn that it was never awaited.
            if asyncio.iscoroutine(awaitable):
                awaitable.close()
    return [task.result() for task in tasks]


async def cancel_task(task: asyncio.Task[Any]) -> None:
    """Cancel `task` and wait until it is over.

    Its own exception, if it ends with one, is raised; its cancellation is not.
    """
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if not task.cancelled() or (current is not None and current.cancelling()):
            raise
