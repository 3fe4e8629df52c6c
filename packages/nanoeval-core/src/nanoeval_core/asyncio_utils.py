"""Small async helpers that evals and solvers share."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Self, TypeVar, overload

import chz

log = logging.getLogger("nanoeval.asyncio_utils")

T = TypeVar("T")
TContext = TypeVar("TContext")

_OPEN = "_open_contexts"
"""Where an object keeps its entered contexts, oldest first: pairs of a context and its value."""


class HasAsyncContextManager:
    """An object that opens things when it is entered and closes them when it is left.

    Override `_context` with an async generator that yields once, decorated with
    `contextlib.asynccontextmanager` or not: what comes before the yield is set-up, what comes
    after is clean-up. `async with obj` gives `obj`. What the generator yields is kept for
    `ContextValue`. A context sees an exception of the body and cannot suppress it. The object may
    be entered again, also while it is already entered; each exit closes the newest entry.
    """

    def _context(self) -> AbstractAsyncContextManager[Any] | AsyncIterator[Any]:
        return contextlib.nullcontext()

    async def __aenter__(self) -> Self:
        context = self._context()
        if not isinstance(context, AbstractAsyncContextManager):
            generator = context
            context = contextlib.asynccontextmanager(lambda: generator)()
        value = await context.__aenter__()
        # Not an attribute: chz objects are frozen, and this state is not configuration.
        self.__dict__.setdefault(_OPEN, []).append((context, value))
        return self

    async def __aexit__(self, *exc: Any) -> None:
        context, _ = self.__dict__[_OPEN].pop()
        await context.__aexit__(*exc)

    def __getstate__(self) -> dict[str, Any]:
        # Open contexts belong to the process that opened them.
        state = self.__dict__.copy()
        state.pop(_OPEN, None)
        return state


@chz.chz
class HasAsyncContextManagerWithValue(HasAsyncContextManager, Generic[TContext]):
    """A chz class whose `_context` yields a value: `_context_value` while it is entered."""

    def _context(self) -> AbstractAsyncContextManager[TContext] | AsyncIterator[TContext]:
        raise NotImplementedError(f"{type(self).__name__} must override _context()")

    @property
    def _context_value(self) -> TContext:
        entered = self.__dict__.get(_OPEN)
        if not entered:
            raise KeyError(f"{type(self).__name__} is not entered: use it inside `async with`")
        value: TContext = entered[-1][1]
        return value


class ContextValue(Generic[T]):
    """A typed attribute for what `_context` yields, on an eval, a solver or a grader.

    It is no chz field and is not pickled; each executor reads what its own `_context` opened.

        @chz.chz
        class Lookup(Eval[Task, bool]):
            database = ContextValue[sqlite3.Connection]()

            async def _context(self) -> AsyncIterator[sqlite3.Connection]:
                with contextlib.closing(sqlite3.connect("facts.db")) as database:
                    yield database

            async def evaluate(self, task: Task) -> bool:
                return self.database.execute(…).fetchone() is not None
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...

    @overload
    def __get__(self, obj: object, owner: type) -> T: ...

    def __get__(self, obj: object | None, owner: type) -> Self | T:
        if obj is None:
            return self
        entered = obj.__dict__.get(_OPEN)
        if not entered:
            raise RuntimeError(
                f"{owner.__name__}.{self._name} is what {owner.__name__}._context yields: it is "
                "there while an executor evaluates tasks, or inside `async with`"
            )
        value: T = entered[-1][1]
        return value


@contextlib.asynccontextmanager
async def generator_with_cleanup(
    gen: AsyncGenerator[T, Any],
) -> AsyncIterator[AsyncGenerator[T, Any]]:
    """Yield `gen`, and close it at the end even when the loop over it was left early.

    A RuntimeError of closing (the generator ignored it, or is still running) is logged.
    """
    try:
        yield gen
    finally:
        try:
            await gen.aclose()
        except RuntimeError as error:
            log.warning("closing %r failed: %s", gen, error)


async def gather_with_concurrency(
    futures: Sequence[Coroutine[Any, Any, T]], concurrency: int
) -> AsyncGenerator[T, None]:
    """Yield the results of `futures` as they complete, with at most `concurrency` running.

    They are started in order. Closing the generator early cancels the rest quietly.

    Raises:
        ValueError: `concurrency` is not positive.
        BaseExceptionGroup: one failed (all that did are in it); the rest are cancelled.
    """
    if concurrency <= 0:
        raise ValueError(f"concurrency={concurrency}: it must be positive")
    limit = asyncio.Semaphore(concurrency)
    finished: asyncio.Queue[asyncio.Task[T]] = asyncio.Queue()

    async def limited(future: Coroutine[Any, Any, T]) -> T:
        async with limit:
            return await future

    tasks = [asyncio.create_task(limited(future)) for future in futures]
    for task in tasks:
        task.add_done_callback(finished.put_nowait)
    failed = False
    try:
        for _ in tasks:
            task = await finished.get()
            failed = not task.cancelled() and task.exception() is not None
            if failed:
                break
            if not task.cancelled():
                yield task.result()
    finally:
        for task in tasks:
            task.cancel()
        # Results are taken too, so that no failure of a cancelled one is reported as forgotten.
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for future in futures:
            future.close()  # one that never started would warn that it was never awaited
    if failed:
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        own = [error for error in errors if not isinstance(error, asyncio.CancelledError)]
        raise BaseExceptionGroup("gather_with_concurrency", own)


async def gather_results(*awaitables: Coroutine[Any, Any, T]) -> list[T]:
    """Await all of `awaitables` at once and return their results in order.

    The first exception cancels the rest and is raised as it is.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(awaitable) for awaitable in awaitables]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def cancel_task(fut: asyncio.Future[Any]) -> None:
    """Cancel `fut` and wait until it is over, however long that takes.

    One that is done already is left alone. An exception it ends with is raised, its cancellation
    is not; one that ends with a result although it was cancelled gives a RuntimeWarning. When the
    caller is cancelled meanwhile, that is raised once `fut` is over.
    """
    if fut.done():
        return
    fut.cancel()
    interrupted: asyncio.CancelledError | None = None
    while not fut.done():
        try:
            await asyncio.wait([fut])
        except asyncio.CancelledError as error:
            interrupted = error
    failure = None if fut.cancelled() else fut.exception()
    if interrupted is not None:
        raise interrupted from failure
    if failure is not None:
        raise failure
    if not fut.cancelled():
        warnings.warn(
            f"{fut!r} was cancelled and ended with a result all the same",
            RuntimeWarning,
            stacklevel=2,
        )


__all__ = [
    "ContextValue",
    "HasAsyncContextManager",
    "HasAsyncContextManagerWithValue",
    "TContext",
    "cancel_task",
    "gather_results",
    "gather_with_concurrency",
    "generator_with_cleanup",
]
