"""The adaptive limit, against endpoints that enforce theirs, in simulated time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from nanoeval_solvers._api.limit_rule import (
    FIRST_WINDOW,
    LONGEST_PAUSE,
    SMALLEST_RATE,
    AdaptiveLimit,
)

from tests.support.endpoint_simulation import (
    AtOnce,
    Bucket,
    Fixed,
    Limit,
    Simulation,
    Sliding,
)


def steady(dice: random.Random) -> float:
    return 0.5


def varied(dice: random.Random) -> float:
    return dice.expovariate(2)


@pytest.mark.parametrize(
    ("limit", "latency", "capacity"),
    [
        (Bucket(100, depth=10), steady, 100),
        (Bucket(100, depth=100), steady, 100),
        (Bucket(100, depth=10), varied, 100),
        (Sliding(100), steady, 100),
        (Sliding(100), varied, 100),
        (Fixed(100), steady, 100),
        (Bucket(700, depth=70), steady, 700),
        (AtOnce(50), steady, 100),
        # With latencies that vary this much, nobody can keep 50 places filled without refusals.
        (AtOnce(50), varied, 95),
        (AtOnce(500), steady, 1000),
    ],
)
def test_a_limit_is_found_and_kept_to(limit: Limit, latency: object, capacity: float) -> None:
    simulation = Simulation(limit, latency=latency)  # type: ignore[arg-type]
    simulation.run(60)
    assert simulation.served_per_second(30, 60) >= 0.9 * capacity
    assert simulation.refused_share(30, 60) < 0.02
    assert simulation.refused_share(0, 60) < 0.03


def uneven(dice: random.Random) -> float:
    return dice.uniform(0.2, 0.8)


@pytest.mark.parametrize(
    ("limit", "capacity", "refused"),
    [
        (lambda: Bucket(1, depth=10), 1, 0.06),
        (lambda: Bucket(5, depth=5), 5, 0.04),
        (lambda: Bucket(10, depth=1), 10, 0.02),
        (lambda: Bucket(10, depth=10), 10, 0.02),
        (lambda: Sliding(5), 5, 0.03),
        (lambda: Sliding(10), 10, 0.02),
        (lambda: Fixed(10), 10, 0.04),
        (lambda: Sliding(60, 60.0), 1, 0.2),
        (lambda: Fixed(60, 60.0), 1, 0.2),
        (lambda: Sliding(600, 60.0), 10, 0.06),
        (lambda: AtOnce(10), 20, 0.02),
    ],
)
def test_small_limits_are_used_up(
    limit: Callable[[], Limit], capacity: float, refused: float
) -> None:
    """With calls that take 0.2 to 0.8 s, from the first call on."""
    simulations = [Simulation(limit(), latency=uneven, seed=seed) for seed in range(3)]
    for simulation in simulations:
        simulation.run(180)
    served = sum(one.served_per_second(0, 180) for one in simulations) / 3
    assert served >= 0.92 * capacity
    assert sum(one.refused_share(90, 180) for one in simulations) / 3 < refused


def test_a_burst_that_was_on_its_way_is_not_taken_for_let_in() -> None:
    """Where refusals take 150 ms, hundreds of calls are sent before the first one comes."""
    simulation = Simulation(Bucket(10, depth=10), latency=uneven, back=0.15)
    simulation.run(60)
    assert simulation.served_per_second(0, 60) >= 9.5
    assert sum(not served for at, served in simulation.outcomes if 1 < at < 60) < 40


@pytest.mark.parametrize("kind", [Sliding, lambda rate: Bucket(rate, rate / 10)])
@pytest.mark.parametrize("retry_after", [None, 1.0])
def test_a_limit_that_changes_is_followed(kind: object, retry_after: float | None) -> None:
    simulation = Simulation(
        kind(100),  # type: ignore[operator]
        changes={30: 50, 60: 200},
        retry_after=retry_after,
    )
    simulation.run(100)
    for since, until, capacity in ((15, 30, 100), (45, 60, 50), (80, 100, 200)):
        assert simulation.served_per_second(since, until) >= 0.9 * capacity
        assert simulation.refused_share(since, until) < 0.02


def test_without_a_limit_all_callers_get_through() -> None:
    simulation = Simulation(AtOnce(math.inf), concurrency=1000)
    simulation.run(6)
    assert simulation.served_per_second(2, 6) == pytest.approx(2000, rel=0.02)
    assert simulation.refused_share(0, 6) == 0


class Scripted:
    """An adaptive limit and its clock."""

    def __init__(self) -> None:
        self.limit = AdaptiveLimit()
        self.limit.begin(1000.0)
        self.now = 1000.0
        self.limit.advance(self.now, in_flight=0, waiting=100)

    def pass_time(self, seconds: float, *, in_flight: int = 0, waiting: int = 100) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.02
            self.limit.advance(self.now, in_flight=in_flight, waiting=waiting)

    def refuse(self, *, sent: float = 0.0, retry_after: float | None = None) -> bool:
        return self.limit.refused(
            self.now, sent_at=self.now - sent, in_flight=10, retry_after=retry_after
        )


def test_refusals_of_one_round_trip_cut_once() -> None:
    scripted = Scripted()
    scripted.pass_time(1)
    assert scripted.refuse()
    before = scripted.limit.limits(scripted.now)
    scripted.pass_time(0.2)
    assert not scripted.refuse(sent=0.5)  # it was sent before the cut
    after = scripted.limit.limits(scripted.now)
    assert after.rate >= before.rate
    assert scripted.refuse()


def test_retry_after_does_not_pause_others_while_calls_are_served() -> None:
    scripted = Scripted()
    for _ in range(20):
        scripted.limit.succeeded(scripted.now, 1, latency=0.1)
        scripted.refuse(retry_after=5)
        scripted.pass_time(0.1)
    assert scripted.limit.limits(scripted.now).paused_until <= scripted.now


def test_retry_after_pauses_everyone_when_nothing_is_served() -> None:
    scripted = Scripted()
    scripted.pass_time(1)
    for _ in range(3):
        scripted.refuse(retry_after=5)
    limits = scripted.limit.limits(scripted.now)
    assert limits.paused_until == scripted.now + 5
    for _ in range(50):  # what was in flight comes back: the pause does not grow
        scripted.refuse(sent=1, retry_after=5)
    assert scripted.limit.limits(scripted.now).paused_until == limits.paused_until


def test_no_header_freezes_the_limit() -> None:
    scripted = Scripted()
    scripted.pass_time(1)
    for _ in range(3):
        scripted.refuse(retry_after=1e9)
    limits = scripted.limit.limits(scripted.now)
    assert limits.paused_until <= scripted.now + LONGEST_PAUSE
    for _ in range(1000):
        scripted.pass_time(0.2)
        scripted.refuse()
    limits = scripted.limit.limits(scripted.now)
    assert limits.rate >= SMALLEST_RATE
    assert limits.window >= 1


def test_an_idle_limit_does_not_grow() -> None:
    scripted = Scripted()
    scripted.pass_time(1)
    scripted.refuse()
    before = scripted.limit.limits(scripted.now)
    scripted.pass_time(60, waiting=0)
    after = scripted.limit.limits(scripted.now)
    assert (after.window, after.rate) == (before.window, before.rate)


def test_what_the_endpoint_says_of_its_limit_is_kept_to() -> None:
    scripted = Scripted()
    scripted.pass_time(6)
    scripted.limit.told(scripted.now, limit=600, remaining=300, reset=30)
    assert scripted.limit.limits(scripted.now).rate == math.inf
    scripted.limit.told(scripted.now, limit=600, remaining=0, reset=60)
    assert scripted.limit.limits(scripted.now).rate == 10
    scripted.pass_time(61)
    assert scripted.limit.limits(scripted.now).rate == math.inf


def test_the_window_does_not_open_while_latency_rises() -> None:
    windows = {}
    for name, latency in (("holds", lambda calls: 0.5), ("rises", lambda calls: 0.5 + calls / 100)):
        scripted = Scripted()
        for calls in range(0, 1000, 50):
            scripted.pass_time(0.04, in_flight=int(scripted.limit.limits(0).window))
            scripted.limit.succeeded(scripted.now, 50, latency=latency(calls))
        windows[name] = scripted.limit.limits(scripted.now).window
    assert windows["holds"] >= FIRST_WINDOW + 1500
    assert 0 <= windows["rises"] - FIRST_WINDOW < (windows["holds"] - FIRST_WINDOW) / 2


@pytest.mark.parametrize("later", [-500.0, 601.0])
def test_what_was_found_long_ago_is_forgotten(later: float) -> None:
    """Also what was found before the machine, and with it the clock, started again."""
    scripted = Scripted()
    scripted.pass_time(1)
    scripted.refuse()
    scripted.limit.begin(scripted.now + 10)
    assert scripted.limit.is_known
    scripted.limit.begin(scripted.now + later)
    assert not scripted.limit.is_known
    assert scripted.limit.limits(scripted.now + later).window == FIRST_WINDOW
