"""The limiter of an endpoint, with a clock that the test sets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from nanoeval_solvers._api.limiter import Limiter, SharedFile


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Door:
    """A limiter, and callers that wait for their turn."""

    def __init__(self, **limits: Any) -> None:
        self.clock = Clock()
        self.gauges: dict[str, float] = {}
        self.limiter = Limiter(SharedFile(), clock=self.clock, gauges=self.gauges, **limits)
        self.callers: list[asyncio.Task[float]] = []

    async def call(self, number: int) -> None:
        self.callers += [asyncio.create_task(self.limiter.enter()) for _ in range(number)]
        await self.settle()

    async def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            self.clock.now += 0.02
            self.limiter._on_timer()
            await self.settle()

    async def settle(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    @property
    def started(self) -> int:
        return sum(caller.done() and not caller.cancelled() for caller in self.callers)

    async def close(self) -> None:
        for caller in self.callers:
            caller.cancel()
        await asyncio.gather(*self.callers, return_exceptions=True)
        self.limiter.close()


def at_a(limits: dict[str, Any], script: Callable[[Door], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        door = Door(**limits)
        try:
            await script(door)
        finally:
            await door.close()

    asyncio.run(run())


def test_no_more_than_the_most_are_in_flight() -> None:
    async def script(door: Door) -> None:
        await door.call(20)
        await door.pass_time(1)
        assert door.started == 3
        door.limiter.leave()
        await door.settle()
        assert door.started == 4
        assert door.gauges["api_concurrency_limit"] == 3

    at_a({"most": 3}, script)


@pytest.mark.parametrize(
    ("limits", "per_second"),
    [
        ({"per_minute": 600}, 10),
        ({"tokens_per_minute": 60_000, "guessed_tokens": 200.0}, 5),
    ],
)
def test_calls_start_as_often_as_allowed(limits: dict[str, Any], per_second: int) -> None:
    async def script(door: Door) -> None:
        await door.call(200)
        before = door.started
        await door.pass_time(10)
        assert door.started - before == pytest.approx(10 * per_second, abs=2)

    at_a(limits, script)


def test_tokens_per_call_are_learned() -> None:
    async def script(door: Door) -> None:
        await door.call(1)
        for _ in range(400):
            await door.call(1)
            door.limiter.succeeded(latency=0.1, tokens=100)
            door.limiter.leave()
            await door.pass_time(0.1)
        before = door.started
        await door.call(300)
        await door.pass_time(10)
        assert door.started - before == pytest.approx(100, rel=0.15)

    at_a({"tokens_per_minute": 60_000, "guessed_tokens": 1000.0}, script)


def test_a_call_that_is_cancelled_leaves_its_turn_to_another() -> None:
    async def script(door: Door) -> None:
        await door.call(3)
        assert door.started == 1
        door.callers[1].cancel()
        await door.settle()
        door.limiter.leave()
        await door.pass_time(0.1)
        assert door.callers[2].done()

    at_a({"most": 1}, script)


def test_a_refusal_makes_others_wait() -> None:
    async def script(door: Door) -> None:
        await door.call(400)
        await door.pass_time(1)
        started = door.started
        assert started > 200
        door.limiter.refused(sent_at=door.clock.now)
        for _ in range(started - 20):
            door.limiter.leave()
        await door.settle()
        assert door.started < started + 20
        assert door.gauges["api_calls_per_second_limit"] > 0

    at_a({}, script)
