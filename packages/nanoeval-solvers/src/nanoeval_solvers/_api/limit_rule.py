"""How much an endpoint may be asked: CUBIC with pacing. Pure: the clock is passed in.

The *window*, the calls in flight, is adapted as TCP adapts its own:

- Slow start: the window opens by two for each call that is served (RFC 3465), until latency has
  doubled (the idea of HyStart++, RFC 9406).
- A refusal (429, 503, 529, a timeout) cuts the window, once per round trip: refusals of calls that
  were sent before a cut say nothing new.
- Then it grows by the cubic function of RFC 9438: steeply back to where it was refused, flat
  around there, then ever faster. A limit that stays is found closely, one that moves quickly.
- Calls start at the rate at which the window turns over (window / latency), as a paced TCP sends:
  a limit of calls per second is met evenly. Where an endpoint takes less than one call per round
  trip, the window is below 1 and only the pace counts.

Only a limit that holds calls up grows: an idle one says nothing about the endpoint.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

# The rule's five constants. Simulated endpoints (tests/support/endpoint_simulation.py) with limits
# per second and at once are served at 0.9 of their capacity or more, with under 2 % refused.
FIRST_WINDOW = 512.0  # most endpoints take it; pacing meets the limits of others gently
FIRST_PACE = 1000.0  # calls per second at the start; doubles every 0.3 s while nothing is refused
CUT = 0.88  # of the window that a refusal leaves: each costs one call, so little is cut
GROWTH = 0.035  # RFC 9438's C, for a window of 1: back after 1.5 s, doubled 3 s later
USUAL_RATE = 100.0  # calls per second below which the cubic's clock runs slower: a probe costs
# one refused call whatever the rate, so slow endpoints are probed more rarely

# Bounds.
SMALLEST_RATE = 0.2  # calls per second: even a dead endpoint is asked now and then
LONGEST_PAUSE = 60.0  # seconds: no header may stop everyone for longer at a time
FORGOTTEN = 600.0  # seconds after which a limit that was found says nothing


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


class AdaptiveLimit(msgspec.Struct):
    """The limit of one endpoint. Times are those of `time.monotonic`; 0 is never."""

    window: float = FIRST_WINDOW
    refused_window: float = 0.0  # the window at the last cut, around which the cubic is flat
    since_cut: float = 0.0  # seconds that the limit held calls up since the last cut
    cuts: int = 0
    cut_at: float = 0.0
    started_at: float = 0.0
    updated_at: float = 0.0
    served_at: float = 0.0
    paused_until: float = 0.0
    latency: float = 0.0
    least_latency: float = 0.0
    tokens_per_call: float = 0.0
    told_rate: float = 0.0  # what the endpoint's headers allow, until `told_until`
    told_until: float = 0.0
    successes: int = 0
    refusals: int = 0
    refused_in_a_row: int = 0
    full: bool = False  # whether the window is what holds calls up

    def begin(self, now: float, *, most: float = math.inf) -> None:
        """Start over unless this was used within the last ten minutes of the same clock."""
        if not (self.updated_at and now - FORGOTTEN < self.updated_at <= now + 1.0):
            fresh = AdaptiveLimit(window=min(FIRST_WINDOW, most), started_at=now, updated_at=now)
            for name in self.__struct_fields__:
                setattr(self, name, getattr(fresh, name))

    @property
    def is_known(self) -> bool:
        """Whether the endpoint ever refused, so that there is a limit to speak of."""
        return self.refused_window > 0

    def limits(self, now: float, *, most: float = math.inf) -> Limits:
        """What is allowed now, with at most `most` calls in flight."""
        window = min(self.window, most)
        if self.is_known:
            rate = max(SMALLEST_RATE, window / max(self.latency, 0.01))
        else:
            since = now - self.started_at
            rate = FIRST_PACE * 2.0 ** (since / 0.3) if since < 5.0 else math.inf
        if now < self.told_until:
            rate = min(rate, self.told_rate)
        return Limits(float(math.ceil(window)), rate, self.paused_until)

    def succeeded(
        self,
        now: float,
        count: int,
        *,
        latency: float,
        tokens: float = 0.0,
        most: float = math.inf,
    ) -> None:
        """`count` calls were served, in `latency` seconds and with `tokens` on average."""
        if not self.successes and latency > self.latency > 0:
            # The pace was right for the latency that was guessed: keep it.
            self.window = min(most, self.window * latency / self.latency)
            self.refused_window *= latency / self.latency
        self.successes += count
        self.refused_in_a_row = 0
        self.served_at = now
        # The mean of all at first, later of about the last eight windows: pace must not waver.
        weight = max(count / self.successes, 1 - math.exp(-count / max(8 * self.window, 8.0)))
        self.latency += (latency - self.latency) * weight
        self.tokens_per_call += (tokens - self.tokens_per_call) * weight
        if not self.least_latency or self.latency < self.least_latency:
            self.least_latency = self.latency
        if self.full and not self.is_known and self.latency < 2 * self.least_latency:
            self.window = min(most, self.window + 2.0 * count)

    def refused(
        self, now: float, *, sent_at: float, in_flight: int, retry_after: float | None = None
    ) -> bool:
        """A call sent at `sent_at` was refused; return whether that cut the window.

        Args:
            in_flight: calls in flight, over all processes.
            retry_after: what the endpoint asked for, in seconds. The refused call waits for it;
                everyone pauses only when nothing at all is served.
        """
        self.refusals += 1
        self.refused_in_a_row += 1
        silence = now - max(self.served_at, self.started_at)
        usual = self.latency if self.successes else 0.0
        nothing_served = self.refused_in_a_row >= 3 and silence > max(0.5, 2 * usual)
        if retry_after and nothing_served and now >= self.paused_until:
            self.paused_until = now + min(retry_after, LONGEST_PAUSE)
        if sent_at <= self.cut_at or now - self.cut_at < 0.1:
            return False
        if not self.successes:
            self.latency = max(1.0, now - self.started_at)  # a guess, until one is served
        elif self.successes < 2 * in_flight:
            # Those served so far are the quick ones; Little's law counts the others as well.
            little = in_flight * (now - self.started_at) / self.successes
            self.latency = max(self.latency, little)
        used = self.window if self.is_known else min(self.window, in_flight + 1.0)
        # RFC 9438, 4.7: refused below the last plateau, the limit is falling.
        falling = used < self.refused_window
        self.refused_window = used * (1 + CUT) / 2 if falling else used
        self.window = max(SMALLEST_RATE * max(self.latency, 0.01), used * CUT)
        self.cuts += 1
        self.since_cut = 0.0
        self.cut_at = self.updated_at = now
        return True

    def advance(self, now: float, *, in_flight: int, waiting: int, most: float = math.inf) -> None:
        """Let the window grow for the time that passed, where it is what holds calls up."""
        elapsed = max(0.0, now - self.updated_at)
        self.updated_at = now
        self.full = in_flight >= 0.9 * min(self.window, most) - 1
        if not self.is_known or not (waiting or self.full) or now < self.paused_until:
            return
        rate = self.window / max(self.latency, 0.01)
        clock = min(1.0, (rate / USUAL_RATE) ** 0.75)
        if (
            self.cuts == 1 and self.successes
        ):  # the burst at the start may have met less than the limit
            clock = max(clock, min(1.0, 0.5 / max(self.latency, 0.01)))
        self.since_cut += elapsed * clock
        back = math.cbrt((1 - CUT) / GROWTH)  # RFC 9438's K
        grown = self.refused_window * (1 + GROWTH * (self.since_cut - back) ** 3)
        self.window = min(most, max(self.window, grown))

    def told(self, now: float, *, limit: float, remaining: float, reset: float) -> None:
        """What an endpoint said of its own limit: nothing remains of `limit` for `reset` s."""
        if remaining <= 0 and limit > 0 and reset > 0:
            self.told_rate = max(SMALLEST_RATE, limit / reset)
            self.told_until = now + min(reset, LONGEST_PAUSE)
