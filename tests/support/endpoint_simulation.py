"""Endpoints with limits, and a client that drives them as the limiter does, in simulated time."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable

from nanoeval_solvers._api.limit_rule import AdaptiveLimit


class Bucket:
    """Serves `rate` calls per second, `depth` at once."""

    def __init__(self, rate: float, depth: float) -> None:
        self.rate, self.depth = rate, depth
        self.tokens, self.at = depth, 0.0

    def admit(self, now: float, in_flight: int) -> bool:
        self.tokens = min(self.depth, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Sliding:
    """Serves `rate` calls in any second, or in any `seconds`."""

    def __init__(self, rate: float, seconds: float = 1.0) -> None:
        self.rate, self.seconds = rate, seconds
        self.recent: deque[float] = deque()

    def admit(self, now: float, in_flight: int) -> bool:
        while self.recent and self.recent[0] <= now - self.seconds:
            self.recent.popleft()
        if len(self.recent) >= self.rate:
            return False
        self.recent.append(now)
        return True


class Fixed:
    """Serves `rate` calls in each second of the clock, or in each `seconds`."""

    def __init__(self, rate: float, seconds: float = 1.0) -> None:
        self.rate, self.seconds, self.turn, self.count = rate, seconds, -1, 0

    def admit(self, now: float, in_flight: int) -> bool:
        if int(now / self.seconds) != self.turn:
            self.turn, self.count = int(now / self.seconds), 0
        self.count += 1
        return self.count <= self.rate


class AtOnce:
    """Serves `rate` calls at a time."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def admit(self, now: float, in_flight: int) -> bool:
        return in_flight < self.rate


Limit = Bucket | Sliding | Fixed | AtOnce
TICK = 0.02


class Simulation:
    """Runs `concurrency` callers against `limit`; outcomes are `(when, served)`."""

    def __init__(
        self,
        limit: Limit,
        *,
        concurrency: int = 1000,
        latency: Callable[[random.Random], float] = lambda dice: 0.5,
        changes: dict[float, float] | None = None,
        retry_after: float | None = None,
        seed: int = 1,
        back: float = 0.003,
    ) -> None:
        self.limit, self.concurrency, self.latency = limit, concurrency, latency
        self.changes = sorted((changes or {}).items())
        self.retry_after = retry_after
        self.dice = random.Random(seed)
        self.back = back  # seconds that a refusal takes
        self.adaptive = AdaptiveLimit()
        self.adaptive.begin(1000.0)
        self.outcomes: list[tuple[float, bool]] = []

    def run(self, seconds: float) -> None:
        events: list[tuple[float, int, str, float]] = []
        order = itertools.count()
        now = at_server = in_flight = backing_off = 0
        now, credit, credited = 1000.0, 1.0, 1000.0
        end, tick = now + seconds, now
        start = now
        while now < end:
            while self.changes and now - start >= self.changes[0][0]:
                self.limit.rate = self.changes.pop(0)[1]
            if now >= tick:
                waiting = self.concurrency - in_flight - backing_off
                self.adaptive.advance(now, in_flight=in_flight, waiting=waiting)
                tick = now + TICK
            limits = self.adaptive.limits(now)
            burst = 1.0 + limits.rate * 0.03
            credit = (
                burst
                if limits.rate == math.inf
                else min(burst, credit + (now - credited) * limits.rate)
            )
            credited = now
            while (
                credit >= 1
                and in_flight < int(limits.window)
                and in_flight + backing_off < self.concurrency
                and now >= limits.paused_until
            ):
                credit -= 1
                in_flight += 1
                if self.limit.admit(now - start, at_server):
                    at_server += 1
                    done = now + self.latency(self.dice)
                    heapq.heappush(events, (done, next(order), "served", now))
                else:
                    heapq.heappush(events, (now + self.back, next(order), "refused", now))
            wait = TICK if in_flight >= limits.window else (1 - credit) / limits.rate
            wake = min(tick, now + max(0.001, wait))
            if events and events[0][0] <= wake:
                now, _, kind, sent = heapq.heappop(events)
                if kind == "backed off":
                    backing_off -= 1
                    continue
                self.outcomes.append((now - start, kind == "served"))
                in_flight -= 1
                if kind == "served":
                    at_server -= 1
                    self.adaptive.succeeded(now, 1, latency=now - sent)
                else:
                    self.adaptive.refused(
                        now, sent_at=sent, in_flight=in_flight, retry_after=self.retry_after
                    )
                    backing_off += 1
                    pause = self.dice.uniform(0, 0.5) + (self.retry_after or 0)
                    heapq.heappush(events, (now + pause, next(order), "backed off", sent))
            else:
                now = wake

    def served_per_second(self, since: float, until: float) -> float:
        return sum(ok for at, ok in self.outcomes if since <= at < until) / (until - since)

    def refused_share(self, since: float, until: float) -> float:
        outcomes = [ok for at, ok in self.outcomes if since <= at < until]
        return outcomes.count(False) / max(1, len(outcomes))
