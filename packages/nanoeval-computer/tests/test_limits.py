"""Limits of a rollout, and clocks that can be stopped."""

from __future__ import annotations

import asyncio
import pickle
import re

import pytest
from nanoeval.solvers.computer_tasks.limits import (
    ActionLimitExceededError,
    LimitsHelper,
    current_timer,
)
from nanoeval.solvers.computer_tasks.pausable_timer import (
    NamedTimeoutError,
    PausableTimer,
    pause_all_pausable_timers,
)


async def forever() -> None:
    await asyncio.Event().wait()


def test_a_limit_that_is_over_says_which_it_was() -> None:
    async def go() -> None:
        async with PausableTimer("boot", 0.01):
            await forever()

    with pytest.raises(
        NamedTimeoutError, match=re.escape("Timeout boot of 0.01 seconds exceeded")
    ) as caught:
        asyncio.run(go())
    assert caught.value.timeout_type == "boot"
    assert isinstance(caught.value.__cause__, TimeoutError)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.timeout_type, str(copy)) == ("boot", str(caught.value))


def test_other_timeouts_pass_as_they_are() -> None:
    async def go() -> None:
        async with PausableTimer("outer", 60):
            raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine") as caught:
        asyncio.run(go())
    assert not isinstance(caught.value, NamedTimeoutError)


def test_paused_time_does_not_count() -> None:
    async def go() -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with PausableTimer("work", 60) as timer:
            with timer.pause():
                assert timer.timer.when() is None  # nothing runs out
                await asyncio.sleep(0.1)
            assert timer.elapsed <= loop.time() - started - 0.1
            assert timer.elapsed + timer.remaining == pytest.approx(60, abs=1)

    asyncio.run(go())


def test_all_timers_of_a_task_and_its_parents_are_paused_together() -> None:
    async def child(timers: list[PausableTimer]) -> None:
        with pause_all_pausable_timers():
            assert all(timer.paused for timer in timers)
            with pause_all_pausable_timers():  # a wait within a wait
                pass
            assert all(timer.paused for timer in timers)
        assert not any(timer.paused for timer in timers)

    async def go() -> None:
        with pause_all_pausable_timers():
            pass
        async with (
            PausableTimer("outer", 60) as outer,
            PausableTimer("inner", 60) as inner,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(child([outer, inner]))

    asyncio.run(go())


def test_timers_are_used_once_and_in_order() -> None:
    async def go() -> None:
        timer = PausableTimer("t", 60)
        for unavailable in (lambda: timer.elapsed, lambda: timer.remaining, lambda: timer.timer):
            with pytest.raises(AssertionError):
                unavailable()
        async with timer:
            with timer.pause():
                with pytest.raises(AssertionError):
                    _ = timer.elapsed
                with pytest.raises(AssertionError), timer.pause():
                    pass
        with pytest.raises(AssertionError):
            async with timer:
                pass

    asyncio.run(go())
    with pytest.raises(AssertionError):
        PausableTimer("t", 100_000_000)


def test_a_rollout_ends_at_its_last_action() -> None:
    async def go() -> list[int]:
        done = []
        with pytest.raises(ActionLimitExceededError):  # noqa: PT012  it is the loop that ends
            async with LimitsHelper(max_actions=3).enforce_rollout_limits() as act:
                timer = current_timer.get()
                assert timer is not None
                assert timer.name == "max_time"
                for i in range(5):
                    done.append(i)
                    act()
        assert current_timer.get() is None
        return done

    assert asyncio.run(go()) == [0, 1, 2]


def test_a_rollout_ends_with_its_time() -> None:
    async def go() -> None:
        async with LimitsHelper(max_time_seconds=1).enforce_timeout("grading", 0.01):
            await forever()

    with pytest.raises(NamedTimeoutError, match="grading"):
        asyncio.run(go())


@pytest.mark.parametrize(
    "fields",
    [{"max_actions": 0}, {"grading_timeout": -1}, {"max_time_seconds": 14000}],
)
def test_limits_that_cannot_be_kept_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(AssertionError):
        LimitsHelper(**fields)
