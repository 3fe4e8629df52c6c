"""`nanoeval.asyncio_utils`: contexts, generators, gathering and cancelling."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import sqlite3
from abc import ABC
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any, Generic, TypeVar

import chz
import pytest
from nanoeval import Eval, Task
from nanoeval.asyncio_utils import (
    ContextValue,
    HasAsyncContextManager,
    HasAsyncContextManagerWithValue,
    cancel_task,
    gather_with_concurrency,
    generator_with_cleanup,
)

T = TypeVar("T")
seen: list[str] = []


@pytest.fixture(autouse=True)
def _empty() -> None:
    seen.clear()


class Decorated(Generic[T], ABC, HasAsyncContextManager):
    @contextlib.asynccontextmanager
    async def _context(self) -> AsyncGenerator[None, None]:
        seen.append("in")
        try:
            yield
        except KeyError as error:
            seen.append(f"saw {error}")
        seen.append("out")


class Bare(HasAsyncContextManager):
    async def _context(self) -> AsyncGenerator[None, None]:
        async with super()._context():  # type: ignore[union-attr]
            seen.append("in")
            yield
            seen.append("out")


@pytest.mark.parametrize("kind", [Decorated, Bare])
def test_a_context_is_decorated_or_a_bare_generator_and_can_be_entered_again(kind: Any) -> None:
    async def main() -> None:
        one = kind()
        for _ in range(2):
            async with one as entered, one:
                assert entered is one
        assert seen == ["in", "in", "out", "out"] * 2

    asyncio.run(main())


def test_a_context_sees_an_exception_and_cannot_suppress_it() -> None:
    async def main() -> None:
        async with Decorated():
            raise KeyError("oops")

    with pytest.raises(KeyError, match="oops"):
        asyncio.run(main())
    assert seen == ["in", "saw 'oops'", "out"]


def test_without_a_context_entering_does_nothing() -> None:
    async def main() -> None:
        plain = HasAsyncContextManager()
        async with plain as entered:
            assert entered is plain

    asyncio.run(main())


@chz.chz
class Number(HasAsyncContextManagerWithValue[int]):
    value: int

    @contextlib.asynccontextmanager
    async def _context(self) -> AsyncGenerator[int, None]:
        yield self.value


def test_a_context_with_a_value_has_it_while_entered() -> None:
    async def main() -> None:
        number = Number(value=3)
        with pytest.raises(KeyError):
            _ = number._context_value
        async with number as entered:
            assert entered is number
            assert number._context_value == 3
        with pytest.raises(KeyError):
            _ = number._context_value

    asyncio.run(main())


def test_a_context_with_a_value_must_be_defined() -> None:
    @chz.chz
    class Nothing(HasAsyncContextManagerWithValue[int]):
        pass

    async def main() -> None:
        async with Nothing():
            pass

    with pytest.raises(NotImplementedError):
        asyncio.run(main())


@chz.chz
class Lookup(Eval[Task, bool]):
    database = ContextValue[sqlite3.Connection]()

    async def _context(self) -> AsyncIterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(":memory:")) as database:
            yield database


def test_what_a_context_opens_has_a_typed_place_that_is_not_pickled() -> None:
    async def main() -> None:
        lookup = Lookup()
        with pytest.raises(RuntimeError, match=r"Lookup\.database is what Lookup\._context yields"):
            _ = lookup.database
        async with lookup:
            (answer,) = lookup.database.execute("SELECT 42").fetchone()
            assert answer == 42
            copy = pickle.loads(pickle.dumps(lookup))
        with pytest.raises(RuntimeError):
            _ = copy.database

    asyncio.run(main())


async def _count(stubborn: bool = False) -> AsyncGenerator[int, None]:
    try:
        for number in range(3):
            yield number
    finally:
        seen.append("closed")
        if stubborn:
            raise RuntimeError("not now")


def test_a_generator_is_closed_when_its_loop_is_left_early() -> None:
    async def main() -> None:
        async with generator_with_cleanup(_count()) as numbers:
            async for number in numbers:
                assert number == 0
                break
        assert seen == ["closed"]

    asyncio.run(main())


def test_a_runtime_error_of_closing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with generator_with_cleanup(_count(stubborn=True)) as numbers:
            await anext(numbers)

    asyncio.run(main())
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "not now" in record.getMessage()


def test_results_come_in_the_order_of_completion_and_few_run_at_once() -> None:
    async def main() -> None:
        gates = [asyncio.Event() for _ in range(3)]

        async def wait(number: int) -> int:
            seen.append(f"start {number}")
            await gates[number].wait()
            return number

        results = gather_with_concurrency([wait(n) for n in range(3)], 2)
        first = asyncio.ensure_future(anext(results))
        gates[1].set()
        assert await first == 1
        assert seen[:2] == ["start 0", "start 1"]
        gates[0].set()
        gates[2].set()
        assert [number async for number in results] == [0, 2]
        assert seen == ["start 0", "start 1", "start 2"]

    asyncio.run(main())


def test_one_failure_cancels_the_rest_and_comes_out_in_a_group() -> None:
    async def main() -> None:
        async def fail() -> int:
            raise KeyError("oops")

        async def wait() -> int:
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("cancelled")
            return 0

        with pytest.raises(ExceptionGroup) as caught:
            _ = [number async for number in gather_with_concurrency([wait(), fail(), wait()], 2)]
        assert [type(error) for error in caught.value.exceptions] == [KeyError]
        assert set(seen) == {"cancelled"}

    asyncio.run(main())


def test_closing_early_cancels_the_rest_quietly() -> None:
    async def main() -> None:
        async def at_once() -> int:
            return 7

        async def wait() -> int:
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("cancelled")
            return 0

        results = gather_with_concurrency([at_once(), wait(), wait()], 2)
        assert await anext(results) == 7
        await results.aclose()
        assert seen in ([], ["cancelled"], ["cancelled"] * 2)

    asyncio.run(main())


def _cancelling(body: Coroutine[Any, Any, Any]) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(body)
        await asyncio.sleep(0)
        await cancel_task(task)
        assert task.done()

    asyncio.run(main())


def test_cancelling_waits_for_the_end() -> None:
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            seen.append("ended")

    _cancelling(slow())
    assert seen == ["ended"]


def test_a_task_that_is_done_is_left_alone() -> None:
    async def fail() -> None:
        raise KeyError("never raised")

    async def main() -> None:
        task = asyncio.ensure_future(fail())
        await asyncio.wait([task])
        await cancel_task(task)
        assert isinstance(task.exception(), KeyError)

    asyncio.run(main())


def test_an_exception_of_a_cancelled_task_is_raised() -> None:
    async def fail() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError("oops")

    with pytest.raises(KeyError, match="oops"):
        _cancelling(fail())


def test_a_task_that_ends_with_a_result_all_the_same_gives_a_warning() -> None:
    async def stubborn() -> int:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return 3

    with pytest.warns(RuntimeWarning, match="ended with a result all the same"):
        _cancelling(stubborn())


def test_the_callers_own_cancellation_is_raised_once_the_task_is_over() -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def slow() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await release.wait()

        task = asyncio.ensure_future(slow())
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(cancel_task(task))
        await asyncio.sleep(0)
        waiting.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert task.cancelled()

    asyncio.run(main())
