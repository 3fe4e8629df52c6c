"""How much an endpoint may be asked at once: the adaptive limit. Pure: the clock is passed in.

Two numbers are adapted together, since an endpoint may limit either: the *window* (calls in
flight) and the *rate* (calls started per second; unlimited until the first refusal).

- Start: the window opens by two for each success, while latency holds.
- A refusal (429, 503, 529, a timeout) cuts both to just under what was served lately, once per
  round trip: refusals of calls that were sent before the last cut say nothing new.
- After a cut both grow again, slowly at first and then ever faster, so that the limit is found
  closely when it stays and quickly when it moves (the idea of CUBIC, RFC 9438).

Only what was asked for in vain grows: an idle limit says nothing about the endpoint.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

# Places of the shared numbers.
_WINDOW, _RATE, _CUT_AT, _GROWN_AT, _SEARCHING = 1, 2, 3, 4, 5
_BASE_LATENCY, _LATENCY, _IN_FLIGHT, _PAUSED_UNTIL, _REFUSED_IN_A_ROW = 6, 7, 8, 9, 10
_TOKENS, _CAP, _CAP_UNTIL, _SUCCESSES, _REFUSALS, _OPEN = 11, 12, 13, 14, 15, 16
_BUCKETS = 32
_BUCKET_SECONDS = 0.25
_NUM_BUCKETS = 128
SIZE = _BUCKETS + 3 * _NUM_BUCKETS
"""How many floats a controller keeps."""

FIRST_WINDOW = 96.0
SMALLEST_WINDOW = 1.0
SMALLEST_RATE = 0.2  # calls per second: even a dead endpoint is asked now and then
LONGEST_PAUSE = 60.0  # seconds: no header may stop the run for longer at a time
_OPENING = 2.0  # calls by which the window opens per success
_MARGIN = 0.97  # of what was served, after a cut
_DEEPEST_CUT = 0.3
_GROWTH = 0.005  # per second, right after a cut
_GROWTH_DOUBLES = 1.75  # seconds
_FASTEST_GROWTH = 0.5  # per second
_SEARCH_GROWTH = 0.25  # per second, after a cut that was more than a correction
_MANY_OUTCOMES = 30
_ALL_REFUSED = 3  # refusals without a success between them


class Numbers(Protocol):
    """Floats that can be read and written: a list, or shared memory."""

    def __getitem__(self, index: int, /) -> float: ...

    def __setitem__(self, index: int, value: float, /) -> None: ...


class Limits(NamedTuple):
    """What is allowed now.

    Attributes:
        window: calls in flight.
        rate: calls started per second; infinite when unknown.
        paused_until: no call starts before this time.
    """

    window: float
    rate: float
    paused_until: float


class Controller:
    """The adaptive limit of one endpoint, over numbers that processes may share.

    Args:
        numbers: `SIZE` floats, zeros at first.
        most: the window never grows beyond this.
    """

    def __init__(self, numbers: Numbers, *, most: float = math.inf) -> None:
        self._n = numbers
        self._most = most
        if not numbers[_WINDOW]:
            numbers[_WINDOW] = min(FIRST_WINDOW, most)

    @property
    def successes(self) -> int:
        return int(self._n[_SUCCESSES])

    @property
    def refusals(self) -> int:
        return int(self._n[_REFUSALS])

    @property
    def tokens_per_call(self) -> float:
        """Tokens that a call spends, lately; 0 when unknown."""
        return self._n[_TOKENS]

    def limits(self, now: float) -> Limits:
        n = self._n
        rate = n[_RATE] or math.inf
        if now < n[_CAP_UNTIL]:
            rate = min(rate, n[_CAP])
        return Limits(min(n[_WINDOW], self._most), rate, n[_PAUSED_UNTIL])

    def succeeded(self, now: float, count: int, *, latency: float, tokens: float = 0.0) -> None:
        """`count` calls were served, in `latency` seconds and with `tokens` on average."""
        n = self._n
        n[_SUCCESSES] += count
        n[_REFUSED_IN_A_ROW] = 0
        self._bucket(now, 1, count)
        weight = 1 - math.exp(-count / max(n[_WINDOW], 8.0))
        n[_LATENCY] += (latency - n[_LATENCY]) * weight if n[_LATENCY] else latency
        if tokens:
            n[_TOKENS] += (tokens - n[_TOKENS]) * weight if n[_TOKENS] else tokens
        if not n[_BASE_LATENCY] or n[_LATENCY] < n[_BASE_LATENCY]:
            n[_BASE_LATENCY] = n[_LATENCY]
        else:  # an endpoint that stays slower is not held against it for ever
            n[_BASE_LATENCY] += (n[_LATENCY] - n[_BASE_LATENCY]) * weight * 0.1
        if not n[_CUT_AT] and n[_OPEN]:
            n[_WINDOW] = min(self._most, n[_WINDOW] + _OPENING * count * self._latency_gain())

    def refused(
        self, now: float, *, sent_at: float, severe: bool = False, retry_after: float | None = None
    ) -> bool:
        """A call sent at `sent_at` was refused; whether that cut the limits.

        Args:
            severe: the endpoint did not even refuse: it timed out.
            retry_after: what the endpoint asked for, in seconds. It delays the refused call, which
                is the caller's to do; everyone pauses only when nothing at all is served.
        """
        n = self._n
        n[_REFUSALS] += 1
        n[_REFUSED_IN_A_ROW] += 1
        self._bucket(now, 2, 1)
        if retry_after and n[_REFUSED_IN_A_ROW] >= _ALL_REFUSED and now >= n[_PAUSED_UNTIL]:
            n[_PAUSED_UNTIL] = now + min(retry_after, LONGEST_PAUSE)
        if sent_at <= n[_CUT_AT]:
            return False
        self._cut(now, severe)
        return True

    def _cut(self, now: float, severe: bool) -> None:
        n = self._n
        served, share_served = self._lately(now)
        factor = max(_DEEPEST_CUT, min(0.98, 0.99 * share_served))
        if severe:
            factor = min(factor, 0.7)
        first = not n[_CUT_AT]
        used = max(1.5 * n[_IN_FLIGHT], 2.0)
        n[_WINDOW] = max(SMALLEST_WINDOW, min(n[_WINDOW] * factor, used))
        rate = n[_RATE]
        if not rate:
            rate = _MARGIN * served or n[_WINDOW] / max(n[_LATENCY], 1.0)
        else:
            rate = max(min(rate * factor, _MARGIN * served), rate * _DEEPEST_CUT)
        n[_SEARCHING] = first or factor < 0.9 or rate < 0.9 * n[_RATE]
        n[_RATE] = max(SMALLEST_RATE, rate)
        n[_CUT_AT] = n[_GROWN_AT] = now

    def grow(self, now: float, *, in_flight: int, waiting: int) -> None:
        """Let the limits grow for the time that passed, where they are what holds calls up."""
        n = self._n
        elapsed = min(now - n[_GROWN_AT], 1.0) if n[_GROWN_AT] else 0.0
        n[_GROWN_AT] = now
        n[_IN_FLIGHT] += (in_flight - n[_IN_FLIGHT]) * (1 - math.exp(-elapsed / 0.5))
        full = in_flight >= 0.9 * min(n[_WINDOW], self._most) - 1
        n[_OPEN] = full
        if not n[_CUT_AT] or not (waiting or full) or now < n[_PAUSED_UNTIL]:
            return
        since = max(0.0, now - max(n[_CUT_AT], n[_PAUSED_UNTIL]))
        doublings = min(since / _GROWTH_DOUBLES, 20.0)
        speed = min(_FASTEST_GROWTH, _GROWTH * 2.0**doublings)
        if n[_SEARCHING]:
            speed = max(speed, _SEARCH_GROWTH)
        factor = math.exp(speed * elapsed)
        if full:
            gain = min(1.0, self._latency_gain())
            n[_WINDOW] = min(self._most, n[_WINDOW] * (1 + (factor - 1) * gain))
        else:
            n[_RATE] *= factor

    def headers(self, now: float, *, limit: float, remaining: float, reset: float) -> None:
        """What an endpoint said of its own limit: nothing remains of `limit` for `reset` s."""
        if remaining <= 0 and limit > 0 and reset > 0:
            self._n[_CAP] = max(SMALLEST_RATE, limit / reset)
            self._n[_CAP_UNTIL] = now + min(reset, LONGEST_PAUSE)

    def _latency_gain(self) -> float:
        """How much to open the window, from 1 while latency holds to 0 when it has tripled."""
        base = self._n[_BASE_LATENCY]
        return min(1.0, max(0.0, (3.0 - self._n[_LATENCY] / base) / 1.5)) if base else 1.0

    def _bucket(self, now: float, place: int, count: int) -> None:
        stamp = int(now / _BUCKET_SECONDS)
        at = _BUCKETS + 3 * (stamp % _NUM_BUCKETS)
        n = self._n
        if n[at] != stamp:
            n[at], n[at + 1], n[at + 2] = stamp, 0.0, 0.0
        n[at + place] += count

    def _lately(self, now: float) -> tuple[float, float]:
        """Calls served per second, and the share of calls that were served, over the last second
        or as many as it takes for a dependable number."""
        last = int(now / _BUCKET_SECONDS)
        served = refused = 0.0
        seconds = now - last * _BUCKET_SECONDS
        for back in range(_NUM_BUCKETS - 1):
            at = _BUCKETS + 3 * ((last - back) % _NUM_BUCKETS)
            if self._n[at] == last - back:
                served += self._n[at + 1]
                refused += self._n[at + 2]
            seconds += _BUCKET_SECONDS if back else 0.0
            if seconds >= 1.0 and served + refused >= _MANY_OUTCOMES:
                break
        outcomes = served + refused
        return served / max(seconds, _BUCKET_SECONDS), served / outcomes if outcomes else 1.0
