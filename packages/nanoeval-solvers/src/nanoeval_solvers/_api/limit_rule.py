"""How much an endpoint may be asked: CUBIC (RFC 9438). Pure: the clock is passed in.

An endpoint limits calls per second or calls at once, and says neither. Until its first refusal
calls start ever faster, and the window, the calls in flight, opens by two for each call that is
served (slow start, RFC 3465) until latency has doubled (the idea of HyStart++, RFC 9406). Then
there is a *limit*:

- It is one of calls per second at first, and becomes one of calls at once when refusals keep coming
  at the peaks of calls in flight: what is refused below a peak is not refused for being too many.
- A refusal cuts it a little, once per round trip: refusals of calls that were sent before a cut say
  nothing new. It is cut to what was let in lately, at most to half.
- Then it grows by the cubic function: steeply back to where it was refused, flat around there, then
  ever faster. A limit that stays is found closely, one that moves quickly.
- When nothing is let in any more (the budget of a minute is used up), the limit is halved from call
  to call, as TCP does when a timer runs out. When calls are let in again, it becomes what was let
  in on average, the silence included.

Only a limit that holds calls up grows: an idle one says nothing about the endpoint.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

# The rule's five constants, found on simulated endpoints (tests/support/endpoint_simulation.py).
FIRST_WINDOW = 512.0  # most endpoints take it; the pace meets the limits of others gently
FIRST_PACE = 1000.0  # calls per second at the start; it doubles until something is refused
CUT = 0.96  # of the limit that a refusal leaves: each costs one call, so little is cut
GROWTH = 0.02  # RFC 9438's C, for a limit of 1: back after 1.3 s, doubled 3.7 s later
USUAL_RATE = 100.0  # calls per second below which the cubic's clock runs slower: a probe costs
# one refused call whatever the rate, so slow endpoints are probed more rarely

# Bounds, and spans of time and calls in which the rule measures.
SMALLEST_RATE = 0.2  # calls per second: even a dead endpoint is asked now and then
LONGEST_PAUSE = 60.0  # seconds: no header may stop everyone for longer at a time
FORGOTTEN = 600.0  # seconds after which a limit that was found says nothing
BETWEEN_CUTS = 0.1  # seconds, at least
LEAST_LATENCY = 0.01  # seconds: of a limit at once, until a call was served
DOUBLING = 0.3  # seconds in which the first pace doubles: a refusal comes back sooner
UNPACED = 5.0  # seconds: who refuses nothing until then limits nothing per second
SILENCE = 0.5  # seconds, at least, without a served call that say that nothing is let in
MEMORY = 2.0  # seconds, and 16 calls, over which rates and means are taken: less is chance
MEMORY_CALLS = 16.0
LATENCY_WINDOWS = 8.0  # windows of calls over which latency is taken: it changes slowly
PEAK_MEMORY = 20.0  # latencies after which a peak of calls in flight counts a third
NEARLY = 0.95  # of a window or peak: a few places change hands at any moment
CROWDED = 0.15  # evidence, up to 1, for a limit at once; a new refusal has a weight of 1/6
EVIDENCE = 1 / 6
SEARCH_ENDS = 0.25  # doublings per second: below, the cubic is as fast
PATIENCE = 5.0  # seconds of silence above which the cubic's clock slows in proportion
SLOWING = 0.6  # power of the rate by which it slows below USUAL_RATE

_BACK = math.cbrt((1 - CUT) / GROWTH)  # RFC 9438's K: seconds until a cut limit is back


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

    window: float = FIRST_WINDOW  # of slow start
    limit: float = 0.0  # calls per second, or calls at once; 0 until the first refusal
    at_once: bool = False  # what `limit` is
    crowding: float = -0.5  # evidence for a limit at once, from -1 to 1
    search: float = 0.0  # doublings a second after the first refusal, which says little
    plateau: float = 0.0  # the limit at the last cut, around which the cubic is flat
    since_cut: float = 0.0  # seconds that the limit held calls up since the last cut
    cut_at: float = 0.0
    let_in_at_cut: int = 0
    silent_since: float = 0.0  # since this cut nothing was let in
    silent: bool = False  # and that for long enough to be sure
    patience: float = 1.0  # by which the cubic's clock runs slower after a long silence
    measured_from: tuple[float, int] = (0.0, 0)  # the end of the last silence, and `successes` then
    # As it is now, of all processes; rates and means are those of the last sixteen calls or so.
    let_in: int = 0
    let_in_rate: float = 0.0
    in_flight: float = 0.0
    peak: float = 0.0
    full: bool = False  # whether the window is what holds calls up
    latency: float = 0.0
    least_latency: float = 0.0
    tokens_per_call: float = 0.0
    successes: int = 0
    refusals: int = 0
    refused_in_a_row: int = 0
    started_at: float = 0.0
    updated_at: float = 0.0
    served_at: float = 0.0
    paused_until: float = 0.0
    told_rate: float = 0.0  # what the endpoint's headers allow, until `told_until`
    told_until: float = 0.0

    def begin(self, now: float, *, most: float = math.inf) -> None:
        """Start over unless this was used within the last ten minutes of the same clock."""
        if not (self.updated_at and now - FORGOTTEN < self.updated_at <= now + 1.0):
            fresh = AdaptiveLimit(
                window=min(FIRST_WINDOW, most),
                started_at=now,
                updated_at=now,
                measured_from=(now, 0),
            )
            for name in self.__struct_fields__:
                setattr(self, name, getattr(fresh, name))

    @property
    def is_known(self) -> bool:
        """Whether the endpoint ever refused, so that there is a limit to speak of."""
        return self.limit > 0

    @property
    def rate(self) -> float:
        """The limit as calls per second."""
        return self.limit / max(self.latency, LEAST_LATENCY) if self.at_once else self.limit

    def limits(self, now: float, *, most: float = math.inf) -> Limits:
        """Return what is allowed now, with at most `most` calls in flight."""
        window = self.window
        if self.at_once:
            # The pace only prevents bursts.
            window, rate = max(1.0, round(self.limit)), 2 * self.rate
        elif self.is_known:
            rate = self.rate
        else:
            since = now - self.started_at
            rate = FIRST_PACE * 2.0 ** (since / DOUBLING) if since < UNPACED else math.inf
        if now < self.told_until:
            rate = min(rate, self.told_rate)
        return Limits(float(int(min(window, most))), rate, self.paused_until)

    def succeeded(
        self,
        now: float,
        count: int,
        *,
        latency: float,
        tokens: float = 0.0,
        most: float = math.inf,
    ) -> None:
        """Note that `count` calls were served, on average in `latency` seconds with `tokens`."""
        self.successes += count
        self.refused_in_a_row = 0
        self.served_at = now
        # The mean of all at first, later of about the last windows.
        of_windows = count / (LATENCY_WINDOWS * max(1.0, self.in_flight))
        weight = max(count / self.successes, min(1.0, of_windows))
        self.latency += (latency - self.latency) * weight
        self.tokens_per_call += (tokens - self.tokens_per_call) * weight
        if not self.least_latency or self.latency < self.least_latency:
            self.least_latency = self.latency
        quick = self.is_known or self.latency < 2 * self.least_latency
        if self.full and quick and not self.at_once:
            self.window = min(most, self.window + 2.0 * count)
        if self.silent and now - latency > self.silent_since:
            self._end_silence(now)

    def refused(
        self, now: float, *, sent_at: float, in_flight: int, retry_after: float | None = None
    ) -> bool:
        """Note that a call sent at `sent_at` was refused; return whether that cut the limit.

        Args:
            in_flight: calls in flight, over all processes.
            retry_after: what the endpoint asked for, in seconds. The refused call waits for it;
                everyone pauses only when nothing at all is served.
        """
        self.refusals += 1
        self.refused_in_a_row += 1
        since_served = now - max(self.served_at, self.started_at)
        nothing_served = self.refused_in_a_row >= 3 and since_served > max(
            SILENCE, 2 * self.latency
        )
        if retry_after and nothing_served and now >= self.paused_until:
            self.paused_until = now + min(retry_after, LONGEST_PAUSE)
        of_the_first_burst = self.search == 1.0 and sent_at <= self.cut_at
        if not of_the_first_burst and (sent_at <= self.cut_at or now - self.cut_at < BETWEEN_CUTS):
            return False
        self._observe(now, in_flight)
        # A second's worth of what was let in: how long calls take is not known yet.
        burst = max(1.0, self.let_in) / max(1.0, (self.cut_at or now) - self.started_at)
        if of_the_first_burst:
            self.limit = self.plateau = min(self.limit, burst)
            return False
        if not self.is_known:
            self.limit = self.plateau = burst
            self.search = 1.0
        elif self.let_in > self.let_in_at_cut:
            self.silent_since, self.silent, self.patience = 0.0, False, 1.0
            if self.search:
                self.search = self.search / 2 if self.search > SEARCH_ENDS else 0.0
                self.let_in_rate = self.limit  # what it was at the end
                self._cut(self.limit)
            else:
                self._weigh(in_flight)
                self._cut(in_flight if self.at_once else self.let_in_rate)
        else:
            self.silent_since = self.silent_since or self.cut_at
            self.silent = now - self.silent_since > max(SILENCE, self.latency, 2 / self.rate)
            self._cut(0.0 if self.silent else self.let_in_rate)
        self.cut_at, self.let_in_at_cut = now, self.let_in
        return True

    def advance(self, now: float, *, in_flight: int, waiting: int, most: float = math.inf) -> None:
        """Let the limit grow for the time that passed, where it is what holds calls up."""
        elapsed = self._observe(now, in_flight)
        window = self.limits(now, most=most).window
        self.full = in_flight >= max(1.0, NEARLY * window - 1)
        holds_up = self.full if self.at_once else waiting and not self.full
        if not self.is_known or not holds_up or now < self.paused_until:
            return
        if self.search:
            self.limit *= 2.0 ** (elapsed * self.search)
            return
        self.since_cut += elapsed * min(1.0, (self.rate / USUAL_RATE) ** SLOWING) / self.patience
        grown = self.plateau * (1 + GROWTH * (self.since_cut - _BACK) ** 3)
        self.limit = max(self.limit, min(grown, most) if self.at_once else grown)

    def told(self, now: float, limit: float, remaining: float, reset: float) -> None:
        """Note what an endpoint said of its own limit: nothing remains of `limit` for `reset` s."""
        if remaining <= 0 and limit > 0 and reset > 0:
            self.told_rate = max(SMALLEST_RATE, limit / reset)
            self.told_until = now + min(reset, LONGEST_PAUSE)

    def _observe(self, now: float, in_flight: int) -> float:
        """Keep account of what is in flight and was let in; return the seconds since the last."""
        elapsed = max(0.0, now - self.updated_at)
        if elapsed:
            memory = min(
                max(MEMORY, MEMORY_CALLS / self.rate if self.is_known else 0.0),
                now - self.started_at,
            )
            weight = min(1.0, elapsed / max(1.0, memory))
            let_in = self.successes + in_flight
            # What was sent and is refused was not let in after all: it counts down again.
            self.let_in_rate += ((let_in - self.let_in) / elapsed - self.let_in_rate) * weight
            self.let_in_at_cut = min(self.let_in_at_cut, let_in)
            self.in_flight += (in_flight - self.in_flight) * weight
            self.peak *= math.exp(-elapsed / max(1.0, PEAK_MEMORY * self.latency))
            self.let_in = let_in
            self.updated_at = now
        self.peak = max(self.peak, in_flight)
        return elapsed

    def _weigh(self, in_flight: int) -> None:
        """Take a refusal as evidence for what is limited: calls per second, or calls at once."""
        if in_flight < NEARLY * self.peak - 0.5:
            evidence = -1.0  # more were let in a moment ago
        elif self.at_once:
            evidence = 1.0
        else:
            # By how many standard deviations (as if by chance, Poisson's) it was crowded.
            usual = max(self.in_flight, self.limit * self.latency)
            evidence = max(-1.0, min(1.0, (in_flight - usual) / math.sqrt(max(1.0, usual))))
        self.crowding += (evidence - self.crowding) * EVIDENCE
        if not self.at_once and self.crowding > CROWDED and self.successes and in_flight:
            self.at_once, self.crowding = True, 1.0
            self.limit = self.plateau = float(in_flight)
        elif self.at_once and self.crowding < 0:
            self._limit_rate(self.let_in_rate)

    def _limit_rate(self, rate: float) -> None:
        self.at_once, self.crowding = False, -0.5
        self.limit = self.plateau = max(SMALLEST_RATE, rate)

    def _cut(self, let_in: float) -> None:
        cut = max(self.limit / 2, min(self.limit * CUT, let_in))
        used = min(self.limit, cut / CUT)
        # RFC 9438, 4.7: refused below the last plateau, the limit is falling.
        self.plateau = used * (1 + CUT) / 2 if used < self.plateau else used
        self.limit = max(SMALLEST_RATE, cut)
        self.since_cut = 0.0

    def _end_silence(self, now: float) -> None:
        since, before = self.measured_from
        measured = (self.successes - before) / max(1.0, now - since)
        if self.at_once or measured > self.limit:
            self._limit_rate(measured)
        self.since_cut, self.patience = _BACK, max(1.0, (now - self.silent_since) / PATIENCE)
        # After a short silence the search goes on with care, after a long one there is no need.
        self.search = self.search / 5 if self.patience == 1.0 and self.search > SEARCH_ENDS else 0.0
        self.silent, self.silent_since = False, 0.0
        self.measured_from = (now, self.successes)
