"""The time left, checked against schedules whose end is known."""

from __future__ import annotations

import heapq
import random

import pytest
from nanoeval_runner._display.forecast import Survival, Work, seconds_left
from nanoeval_runner._display.view import View


def schedule(times: list[float], slots: int) -> list[tuple[float, float]]:
    """Start and end of each task, when `slots` of them run at once, in order."""
    free = [0.0] * slots
    spans = []
    for time in times:
        start = heapq.heappop(free)
        spans.append((start, start + time))
        heapq.heappush(free, start + time)
    return spans


def work_at(now: float, spans: list[tuple[float, float]], slots: int) -> tuple[Work, float]:
    """What is known at a time, and how long it really takes from there."""
    finished = [end - start for start, end in spans if end <= now]
    ages = [now - start for start, end in spans if start <= now < end]
    queued = sum(start > now for start, _ in spans)
    work = Work(finished, ages, len(finished), len(ages), queued, slots)
    return work, max(end for _, end in spans) - now


def skewed(rng: random.Random, n: int) -> list[float]:
    """Most tasks take a second or so, one in a hundred a minute."""
    return [rng.expovariate(1) + (60 if rng.random() < 0.01 else 0) for _ in range(n)]


def relative_errors(share: float, naive: bool) -> list[float]:
    errors = []
    for seed in range(10):
        spans = schedule(skewed(random.Random(seed), 8000), slots=100)
        now = share * max(end for _, end in spans)
        work, truth = work_at(now, spans, slots=100)
        if naive:
            guess = (work.queued + work.in_flight) / (work.done / now)
        else:
            guess = seconds_left(work) or 0.0
        errors.append(abs(guess - truth) / truth)
    return sorted(errors)


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_right_on_skewed_task_times_where_a_rate_is_not(share: float) -> None:
    ours, naive = relative_errors(share, naive=False), relative_errors(share, naive=True)
    assert ours[5] < 0.3  # the median
    assert ours[5] < 0.5 * naive[5]


def test_equal_tasks() -> None:
    spans = schedule([2.0] * 100, slots=10)
    work, truth = work_at(7.0, spans, slots=10)
    assert seconds_left(work) == pytest.approx(truth, rel=0.25)


def test_what_still_runs_counts() -> None:
    """Ten quick tasks are over; the one that is left has been running for a minute."""
    only_quick = Work([1.0] * 10, [], 10, 0, 0, None)
    assert seconds_left(only_quick) == 0.0
    one_slow = Work([1.0] * 10, [60.0], 10, 1, 0, None)
    left = seconds_left(one_slow)
    assert left is not None
    assert left > 1.0


def test_nothing_is_known_before_the_first_task_is_over() -> None:
    assert seconds_left(Work([], [3.0], 0, 1, 10, 5)) is None


def test_a_sample_weighs_as_much_as_it_stands_for() -> None:
    """A million are over, of which 800 were looked at; the 800 in flight are all there are."""
    rng = random.Random(1)
    finished = [rng.uniform(0.5, 1.5) for _ in range(800)]
    ages = [rng.uniform(0, 1) for _ in range(800)]
    left = seconds_left(Work(finished, ages, 1_000_000, 800, 80_000, 800))
    assert left == pytest.approx(100, rel=0.1)


def test_the_cost_does_not_grow_with_the_queue() -> None:
    few = Work([1.0, 2.0], [0.5] * 50, 2, 50, 1_000, 50)
    many = few._replace(queued=1_000_000)
    left = seconds_left(many)
    assert left == pytest.approx(1_000_000 * 1.5 / 50, rel=0.1)
    assert seconds_left(few) == pytest.approx(1_000 * 1.5 / 50, rel=0.2)


def test_survival_is_kaplan_and_meiers() -> None:
    """The textbook case: 6, 6, 6, 6+, 7, 9+, 10, 10+ (Freireich et al. 1963, abridged)."""
    survival = Survival([6, 6, 6, 7, 10], [6, 9, 10])
    assert survival.longer_than(5) == 1.0
    assert survival.longer_than(6) == pytest.approx(5 / 8)
    assert survival.longer_than(7) == pytest.approx(5 / 8 * 3 / 4)
    assert survival.longer_than(10) == pytest.approx(5 / 8 * 3 / 4 * 1 / 2)


def test_a_run_that_takes_longer_than_was_thought_is_not_said_to_be_over() -> None:
    view = View("slow", done=0, total=40, ends_at=10.0)
    view.mark(0.0)
    view.done = 20
    view.mark(10.0)
    assert view.pace(now=8.0) == ["2.0/s", "ETA 2.0 s"]
    assert view.pace(now=11.0) == ["2.0/s", "ETA 10 s"]  # 20 more at that rate
    view.done = 40
    assert view.pace(now=11.0) == ["2.0/s", "ETA 0.0 s"]


def test_without_a_rate_no_time_left_is_better_than_none() -> None:
    assert View("slow", total=40, ends_at=10.0).pace(now=11.0) == []
