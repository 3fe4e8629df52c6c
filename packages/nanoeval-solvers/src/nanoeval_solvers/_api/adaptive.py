"""How much an endpoint may be asked at once: the adaptive limit. Pure: the clock is passed in.

Two numbers are adapted, since an endpoint may limit either: the *window* (calls in flight) and the
*rate* (calls started per second).

- Start: the rate ramps up, so that a limit is met by a few calls and not by a burst, and the
  window opens by two for each success, while latency holds.
- A refusal (429, 503, 529, a timeout) cuts the rate, or the window when it comes at a peak of
  calls in flight, to just under what was let in since the last cut; once per round trip, as
  refusals of calls that were sent before a cut say nothing new.
- After a cut both grow again, slowly at first and then ever faster, so that the limit is found
  closely when it stays and quickly when it moves (the idea of CUBIC, RFC 9438).

Only what was asked for in vain grows: an idle limit says nothing about the endpoint.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

# Places of the shared numbers.
_WINDOW, _RATE, _CUT_AT, _GROWN_AT, _GOOD_RATE = 1, 2, 3, 4, 5
_BASE_LATENCY, _LATENCY, _IN_FLIGHT, _PAUSED_UNTIL, _REFUSED_IN_A_ROW = 6, 7, 8, 9, 10
_TOKENS, _CAP, _CAP_UNTIL, _SUCCESSES, _REFUSALS, _OPEN = 11, 12, 13, 14, 15, 16
_STARTED_AT, _LET_IN_RATE, _LET_IN = 17, 18, 19
_CUT_LET_IN, _CUT_REFUSALS, _DEEP_CUT_AT, _SERVED_AT = 20, 21, 22, 23
SIZE = 32
"""How many floats a controller keeps."""

FIRST_WINDOW = 512.0
SMALLEST_WINDOW = 1.0
SMALLEST_RATE = 0.2  # calls per second: even a dead endpoint is asked now and then
LONGEST_PAUSE = 60.0  # seconds: no header may stop the run for longer at a time
_FORGOTTEN = 600.0  # seconds after which a limit that was found says nothing
_FIRST_RATE = 1000.0  # calls per second, at the start
_RATE_DOUBLES = 0.3  # seconds, at the start
_RAMP = 5.0  # seconds after which there is no rate to speak of
_LEAST_FIRST_RATE = 5.0  # calls per second, after a first cut, which knows little
_OPENING = 2.0  # calls by which the window opens per success
_BETWEEN_CUTS = 0.1  # seconds, at least
_SLIGHT_CUT = 0.975
_DEEPEST_CUT = 0.3
_GROWTH = 0.004  # per second, right after a cut
_GROWTH_DOUBLES = 1.2  # seconds
_SLOW_RATE = 25.0  # calls per second
_FASTEST_GROWTH = 1.0  # per second
_SEARCH_GROWTH = 0.6  # per second, until the rate that went well before a deep cut
_CORRECTION = 0.8
_SERIES = 1.5  # seconds within which deep cuts have one cause
_PACE = 1.3  # of the average rate, while the window is what limits
_PEAK = 1.15  # of the usual calls in flight
_MEMORY = 2.0  # seconds of the average rate at which calls were let in
_SILENCE = 0.5  # seconds without a success, at least, before nothing is said to be served
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

    def begin(self, now: float) -> None:
        """Start anew unless what the numbers say is of today.

        They may be from another run, or from before the machine was started (the clock then).
        """
        n = self._n
        if not n[_WINDOW] or not now - _FORGOTTEN < n[_GROWN_AT] <= now + 1.0:
            for place in range(SIZE):
                n[place] = 0.0
            n[_WINDOW] = min(FIRST_WINDOW, self._most)

    @property
    def successes(self) -> int:
        return int(self._n[_SUCCESSES])

    @property
    def refusals(self) -> int:
        return int(self._n[_REFUSALS])

    @property
    def rate_is_known(self) -> bool:
        """Whether the endpoint ever refused, so that the rate is more than the ramp."""
        return bool(self._n[_RATE])

    @property
    def tokens_per_call(self) -> float:
        """Tokens that a call spends, lately; 0 when unknown."""
        return self._n[_TOKENS]

    def limits(self, now: float) -> Limits:
        n = self._n
        rate = n[_RATE] or self._ramp(now)
        if now < n[_CAP_UNTIL]:
            rate = min(rate, n[_CAP])
        return Limits(min(n[_WINDOW], self._most), rate, n[_PAUSED_UNTIL])

    def _ramp(self, now: float) -> float:
        """The rate at the start, when no limit is known."""
        since = now - self._n[_STARTED_AT] if self._n[_STARTED_AT] else 0.0
        return _FIRST_RATE * 2.0 ** (since / _RATE_DOUBLES) if since < _RAMP else math.inf

    def succeeded(self, now: float, count: int, *, latency: float, tokens: float = 0.0) -> None:
        """`count` calls were served, in `latency` seconds and with `tokens` on average."""
        n = self._n
        n[_SUCCESSES] += count
        n[_REFUSED_IN_A_ROW] = 0
        n[_SERVED_AT] = now
        weight = 1 - math.exp(-count / max(n[_WINDOW], 8.0))
        n[_LATENCY] += (latency - n[_LATENCY]) * weight if n[_LATENCY] else latency
        if tokens:
            n[_TOKENS] += (tokens - n[_TOKENS]) * weight if n[_TOKENS] else tokens
        if not n[_BASE_LATENCY] or n[_LATENCY] < n[_BASE_LATENCY]:
            n[_BASE_LATENCY] = n[_LATENCY]
        else:  # an endpoint that stays slower is not held against it for ever
            n[_BASE_LATENCY] += (n[_LATENCY] - n[_BASE_LATENCY]) * weight * 0.1
        if not n[_CUT_AT] and n[_OPEN]:
            opened = n[_WINDOW] + _OPENING * count * self._latency_gain()
            n[_WINDOW] = min(self._most, opened)

    def refused(
        self,
        now: float,
        *,
        sent_at: float,
        in_flight: int,
        severe: bool = False,
        retry_after: float | None = None,
    ) -> bool:
        """A call sent at `sent_at` was refused; whether that cut the limits.

        Args:
            in_flight: calls in flight beside it, over all processes.
            severe: the endpoint did not even refuse: it timed out.
            retry_after: what the endpoint asked for, in seconds. It delays the refused call, which
                is the caller's to do; everyone pauses only when nothing at all is served.
        """
        n = self._n
        n[_REFUSALS] += 1
        n[_REFUSED_IN_A_ROW] += 1
        served_at = max(n[_SERVED_AT], n[_STARTED_AT])
        nothing_served = n[_REFUSED_IN_A_ROW] >= _ALL_REFUSED and (
            now - served_at > max(_SILENCE, 2 * n[_LATENCY])
        )
        if retry_after and nothing_served and now >= n[_PAUSED_UNTIL]:
            n[_PAUSED_UNTIL] = now + min(retry_after, LONGEST_PAUSE)
        if sent_at <= n[_CUT_AT] or now - n[_CUT_AT] < _BETWEEN_CUTS:
            return False
        self._cut(now, in_flight, severe)
        return True

    def _cut(self, now: float, in_flight: int, severe: bool) -> None:
        n = self._n
        self._note(now, in_flight)
        let_in = max(0.0, n[_LET_IN] - n[_CUT_LET_IN])
        refused = n[_REFUSALS] - n[_CUT_REFUSALS]
        factor = max(_DEEPEST_CUT, min(_SLIGHT_CUT, let_in / (let_in + refused)))
        if severe:
            factor = min(factor, 0.7)
        usual = max(n[_IN_FLIGHT], 1.0)
        at_peak = in_flight >= 0.97 * n[_WINDOW] - 1 or in_flight > _PEAK * usual + 1
        at_peak = at_peak or severe  # too much at once, not too often
        first = not n[_CUT_AT]
        if first:
            elapsed = max(0.3, now - n[_STARTED_AT])
            n[_RATE], n[_GOOD_RATE] = max(let_in / elapsed, _LEAST_FIRST_RATE), math.inf
            n[_WINDOW] = min(n[_WINDOW], max(1.5 * in_flight, 8.0))
        else:
            floor = max(SMALLEST_RATE, _CORRECTION * n[_LET_IN_RATE] if not severe else 0.0)
            if at_peak:
                least = min(n[_WINDOW], _CORRECTION * usual if not severe else 0.0)
                cut = min(n[_WINDOW], float(in_flight + 1)) * factor
                n[_WINDOW] = max(SMALLEST_WINDOW, least, cut)
                # Replies that come in clumps must not send the next calls in clumps.
                n[_RATE] = max(SMALLEST_RATE, min(n[_RATE], _PACE * n[_LET_IN_RATE]))
            if not at_peak or factor < _CORRECTION:
                n[_RATE] = min(n[_RATE], max(floor, n[_RATE] * factor))
            if factor >= _CORRECTION:
                n[_GOOD_RATE] = 0.0
            elif now - n[_DEEP_CUT_AT] > _SERIES or not n[_GOOD_RATE]:
                n[_GOOD_RATE] = n[_LET_IN_RATE]
        if first or factor < _CORRECTION:
            n[_DEEP_CUT_AT] = now
        n[_CUT_AT] = n[_GROWN_AT] = now
        n[_CUT_LET_IN], n[_CUT_REFUSALS] = n[_LET_IN], n[_REFUSALS]

    def grow(self, now: float, *, in_flight: int, waiting: int) -> None:
        """Let the limits grow for the time that passed, where they are what holds calls up."""
        n = self._n
        if not n[_STARTED_AT]:
            n[_STARTED_AT] = n[_GROWN_AT] = now
        elapsed = max(0.0, min(now - n[_GROWN_AT], 1.0))
        self._note(now, in_flight)
        full = in_flight >= 0.9 * min(n[_WINDOW], self._most) - 1
        n[_OPEN] = full
        if not n[_CUT_AT] or not (waiting or full) or now < n[_PAUSED_UNTIL]:
            return
        since = max(0.0, now - max(n[_CUT_AT], n[_PAUSED_UNTIL]))
        rate = n[_WINDOW] / max(n[_LATENCY], 0.001) if full else n[_RATE]
        # A slow endpoint serves few calls between probes: probe more rarely, or many are refused.
        doubling = _GROWTH_DOUBLES * math.sqrt(max(1.0, _SLOW_RATE / rate))
        first_speed = _GROWTH * min(1.0, rate / (2 * _SLOW_RATE))
        speed = min(_FASTEST_GROWTH, first_speed * 2.0 ** min(since / doubling, 20.0))
        if rate < 0.94 * n[_GOOD_RATE]:
            speed = max(speed, _SEARCH_GROWTH)
        factor = math.exp(speed * elapsed)
        if full:
            gain = min(1.0, self._latency_gain())
            n[_WINDOW] = min(self._most, n[_WINDOW] * (1 + (factor - 1) * gain))
        else:
            n[_RATE] *= factor

    def _note(self, now: float, in_flight: int) -> None:
        """Keep account of how many calls were let in: those served and those in flight."""
        n = self._n
        elapsed = now - n[_GROWN_AT]
        if elapsed <= 0:
            return
        let_in = n[_SUCCESSES] + in_flight
        horizon = min(_MEMORY, max(1.0, now - n[_STARTED_AT]))
        weight = min(1.0, elapsed / horizon)
        rate = max(0.0, let_in - n[_LET_IN]) / elapsed
        n[_LET_IN_RATE] += (rate - n[_LET_IN_RATE]) * weight
        n[_IN_FLIGHT] += (in_flight - n[_IN_FLIGHT]) * min(1.0, elapsed / 0.5)
        n[_LET_IN], n[_GROWN_AT] = let_in, now

    def headers(self, now: float, *, limit: float, remaining: float, reset: float) -> None:
        """What an endpoint said of its own limit: nothing remains of `limit` for `reset` s."""
        if remaining <= 0 and limit > 0 and reset > 0:
            self._n[_CAP] = max(SMALLEST_RATE, limit / reset)
            self._n[_CAP_UNTIL] = now + min(reset, LONGEST_PAUSE)

    def _latency_gain(self) -> float:
        """How much to open the window, from 1 while latency holds to 0 when it has tripled."""
        base = self._n[_BASE_LATENCY]
        return min(1.0, max(0.0, (3.0 - self._n[_LATENCY] / base) / 1.5)) if base else 1.0
