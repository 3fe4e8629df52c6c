"""The gate of an endpoint: every call of this process waits here for its turn."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, MutableMapping

from nanoeval_solvers._api.adaptive import Controller, Limits
from nanoeval_solvers._api.meeting import Meeting, Share

_SYNC_INTERVAL = 0.02  # seconds between looks at the shared numbers
_BURST = 0.03  # seconds of the rate that may be made up for: an event loop is never on time


@dataclasses.dataclass(slots=True)
class _News:
    """What happened since the shared numbers were last seen."""

    successes: int = 0
    latency: float = 0.0
    tokens: float = 0.0


class Gate:
    """Lets calls through as fast as the endpoint allows, over all processes of the run.

    Args:
        meeting: the shared numbers.
        most: calls in flight, over all processes, at most.
        per_minute: calls started per minute, over all processes, at most.
        tokens_per_minute: tokens spent per minute, over all processes, at most.
        guessed_tokens: tokens that a call spends, until calls have told.
        gauges: where the current limits are published.
    """

    def __init__(
        self,
        meeting: Meeting,
        *,
        most: float = math.inf,
        per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        guessed_tokens: float = 1000.0,
        gauges: MutableMapping[str, float | str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._meeting = meeting
        self._controller = Controller(meeting.numbers, most=most)
        with meeting.exclusive():
            self._controller.begin(clock())
        self._per_minute = per_minute
        self._tokens_per_minute = tokens_per_minute
        self._guessed_tokens = guessed_tokens
        self._gauges: MutableMapping[str, float | str] = {} if gauges is None else gauges
        self._clock = clock
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._news = _News()
        self._timer: asyncio.TimerHandle | None = None
        self._synced_at = -math.inf
        self._credit = 1.0
        self._credited_at = clock()
        self._limits: Limits = self._controller.limits(clock())
        self._share = Share(window=0, part=1.0, in_flight=0, waiting=0)  # until the first sync
        self._rate = self._own_rate()

    @property
    def window(self) -> int:
        """Calls in flight that the endpoint is given now, over all processes."""
        return int(self._limits.window)

    @property
    def controller(self) -> Controller:
        return self._controller

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._meeting.close()

    async def enter(self) -> float:
        """Wait for this call's turn; the time at which it starts. `leave` must follow."""
        now = self._clock()
        if not self._waiting and self._may_start(now):
            self._start()
            self._set_timer(now)
            return now
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if self._in_flight >= self._share.window and not self._share.alone:
            self._sync(now)  # this process may have had nothing to ask for
        else:
            self._sync_when_due(now)
        self._let_in(now)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # its turn had come: somebody else's now
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise
        return self._clock()

    def leave(self) -> None:
        """Give the slot back."""
        self._in_flight -= 1
        now = self._clock()
        if self._in_flight or self._waiting:
            self._sync_when_due(now)
        else:
            self._sync(now)  # what was granted here is free for others
        self._let_in(now)

    def succeeded(self, *, latency: float, tokens: int) -> None:
        """The call that is about to leave was served."""
        self._news.successes += 1
        self._news.latency += latency
        self._news.tokens += tokens

    def refused(
        self, *, sent_at: float, severe: bool = False, retry_after: float | None = None
    ) -> None:
        """The call that is about to leave was refused for want of capacity."""
        now = self._clock()
        self._sync(now)
        with self._meeting.exclusive():
            # Unlocked only when another process is stopped within its lock: then late is worse.
            self._controller.refused(
                now,
                sent_at=sent_at,
                in_flight=max(self._share.in_flight, self._in_flight),
                severe=severe,
                retry_after=retry_after,
            )
        self._sync(now)

    def headers(self, *, limit: float, remaining: float, reset: float) -> None:
        """What the endpoint said of its own limit."""
        self._controller.headers(self._clock(), limit=limit, remaining=remaining, reset=reset)

    def _start(self) -> None:
        self._in_flight += 1
        self._credit -= 1.0

    def _may_start(self, now: float) -> bool:
        if self._in_flight >= self._share.window or now < self._limits.paused_until:
            return False
        if self._rate == math.inf:
            self._credit = 1.0
            return True
        most = 1.0 + self._rate * _BURST
        self._credit = min(most, self._credit + (now - self._credited_at) * self._rate)
        self._credited_at = now
        return self._credit >= 1.0

    def _let_in(self, now: float) -> None:
        while self._waiting and self._may_start(now):
            turn = self._waiting.popleft()
            if not turn.done():
                self._start()
                turn.set_result(None)
        self._set_timer(now)

    def _set_timer(self, now: float) -> None:
        if not (self._waiting or self._in_flight):
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + self._delay(now)
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = loop.call_at(due, self._on_timer)

    def _delay(self, now: float) -> float:
        """Seconds until it makes sense to look again."""
        if self._waiting and now < self._limits.paused_until:
            return min(self._limits.paused_until - now, 1.0)
        if self._waiting and self._in_flight < self._share.window and self._rate < math.inf:
            return min(max((1.0 - self._credit) / self._rate, 0.001), 0.25)
        if not self._waiting:
            return 1.0  # a sign of life for the others
        return 0.1 if self._share.alone else _SYNC_INTERVAL

    def _on_timer(self) -> None:
        self._timer = None
        now = self._clock()
        self._sync_when_due(now)
        self._let_in(now)

    def _sync_when_due(self, now: float) -> None:
        if now - self._synced_at >= _SYNC_INTERVAL:
            self._sync(now)

    def _sync(self, now: float) -> None:
        """Tell the others what happened here, and learn what that means."""
        controller, news = self._controller, self._news
        with self._meeting.exclusive() as mine:
            if not mine:
                return
            self._synced_at = now
            if news.successes:
                controller.succeeded(
                    now,
                    news.successes,
                    latency=news.latency / news.successes,
                    tokens=news.tokens / news.successes,
                )
                self._news = _News()
            controller.grow(
                now,
                in_flight=max(self._share.in_flight, self._in_flight),
                waiting=max(self._share.waiting, len(self._waiting)),
            )
            self._limits = controller.limits(now)
            self._share = self._meeting.attend(
                now,
                in_flight=self._in_flight,
                waiting=len(self._waiting),
                window=self._limits.window,
            )
        self._rate = self._own_rate()
        self._gauges["api_concurrency_limit"] = float(self.window)
        if controller.rate_is_known:
            self._gauges["api_calls_per_second_limit"] = round(self._limits.rate, 1)

    def _own_rate(self) -> float:
        rate = self._limits.rate
        if self._per_minute is not None:
            rate = min(rate, self._per_minute / 60)
        if self._tokens_per_minute is not None:
            tokens = self._controller.tokens_per_call or self._guessed_tokens
            rate = min(rate, self._tokens_per_minute / 60 / tokens)
        return rate * self._share.part
