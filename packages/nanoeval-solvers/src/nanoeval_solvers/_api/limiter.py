"""The limiter of an endpoint: every call of this process waits here for its turn.

The processes of a run share one adaptive limit in a small file, under its lock. A process that is
killed leaves nothing locked (the lock is the operating system's), and its calls in flight are
forgotten `PRESENCE` seconds after its last sign of life.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from nanoeval_solvers._api.limit_rule import AdaptiveLimit, Limits

PRESENCE = 5.0  # seconds
_SYNC_INTERVAL = 0.02  # seconds between looks at the shared numbers
_BURST = 0.03  # seconds of the rate that may be made up for: an event loop is never on time


class Member(msgspec.Struct):
    """What one process does."""

    seen_at: float
    in_flight: int
    waiting: int
    granted: int


class Share(NamedTuple):
    """One process's part.

    Attributes:
        window: calls that it may have in flight; over all processes they never add up to more
            than the whole window, except while that shrinks.
        part: of the rate, from 0 to 1.
        in_flight: calls in flight, over all processes.
        waiting: calls that wait to start, over all processes.
        alone: no other process is there.
    """

    window: int
    part: float = 1.0
    in_flight: int = 0
    waiting: int = 0
    alone: bool = True


class Shared(msgspec.Struct):
    """What the file holds."""

    limit: AdaptiveLimit = msgspec.field(default_factory=AdaptiveLimit)
    rejected: int = 0
    members: dict[str, Member] = msgspec.field(default_factory=dict)

    def attend(
        self, name: str, now: float, *, in_flight: int, waiting: int, window: float
    ) -> Share:
        """Say what the process `name` does, and return its share of `window`."""
        for gone in [n for n, one in self.members.items() if now - one.seen_at >= PRESENCE]:
            del self.members[gone]
        mine = self.members.setdefault(name, Member(now, 0, 0, 0))
        mine.seen_at, mine.in_flight, mine.waiting = now, in_flight, waiting
        present = [self.members[one] for one in sorted(self.members)]
        demand = [float(one.in_flight + one.waiting) for one in present]
        # Who asks for nothing keeps nothing from the others.
        asked = in_flight + waiting
        fair = deal(window, demand, present.index(mine), turn=int(now)) if asked else 0
        free = int(min(window, 1e9)) - sum(one.granted for one in present if one is not mine)
        mine.granted = max(in_flight, min(fair, free))
        return Share(
            window=mine.granted,
            part=asked / sum(demand) if any(demand) else 1.0,
            in_flight=sum(one.in_flight for one in present),
            waiting=sum(one.waiting for one in present),
            alone=len(present) == 1,
        )


def deal(window: float, demand: list[float], mine: int, *, turn: int) -> int:
    """Return the part of `window` that process number `mine` gets, proportional to its demand.

    What is left over by rounding goes round among those that want it: `turn` says who is first.
    """
    whole, total = int(min(window, 1e9)), int(sum(demand))
    if total <= 0 or len(demand) == 1:
        return whole
    first = turn % len(demand)
    at = (mine - first) % len(demand)
    before = int(sum((demand[first:] + demand[:first])[:at]))
    return whole * (before + int(demand[mine])) // total - whole * before // total


class SharedFile:
    """The shared numbers of one endpoint, in a file or, without one, in this process.

    Attributes:
        name: of this process in it.

    Args:
        path: the file, made when missing; its folder must exist.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.name = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._shared = Shared()
        self._file: int | None = None
        if path is not None:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextlib.contextmanager
    def exclusive(self, *, wait: bool = False) -> Iterator[Shared | None]:
        """Give the numbers, written back at the end; None while another process has them.

        Waits only when told to: a process stopped within its lock must not stop the others.
        """
        if self._file is None:
            yield self._shared
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield None
            return
        try:
            size = os.fstat(self._file).st_size
            try:
                shared = _decode(os.pread(self._file, size, 0))
            except msgspec.MsgspecError:
                shared = Shared()  # new, or its writer was killed within the write
            yield shared
            # Blanks after the end of a shorter one: in one write there is no half of it.
            os.pwrite(self._file, _encode(shared).ljust(size), 0)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._file is None:
            return
        with self.exclusive(wait=True) as shared:
            if shared is not None:
                shared.members.pop(self.name, None)
        os.close(self._file)
        self._file = None


_decode = msgspec.json.Decoder(Shared).decode
_encode = msgspec.json.Encoder().encode


class Limiter:
    """Lets calls through as fast as the endpoint allows, over all processes of the run.

    Attributes:
        in_flight: calls of this process.
        successes, refusals, rejections: of all processes of the run.

    Args:
        file: the shared numbers.
        most: calls in flight, over all processes, at most.
        per_minute: calls started per minute, over all processes, at most.
        tokens_per_minute: tokens spent per minute, over all processes, at most.
        guessed_tokens: tokens that a call spends, until calls have told.
        gauges: where the current limits are published.
    """

    def __init__(
        self,
        file: SharedFile,
        *,
        most: float = math.inf,
        per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        guessed_tokens: float = 1000.0,
        gauges: MutableMapping[str, float | str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._most = most
        self._per_minute = per_minute
        self._tokens_per_minute = tokens_per_minute
        self._guessed_tokens = guessed_tokens
        self._gauges = gauges
        self._clock = clock
        self.in_flight = 0
        self.successes = self.refusals = self.rejections = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        # What happened since the shared numbers were last seen.
        self._served, self._latency, self._tokens = 0, 0.0, 0.0
        self._refused: list[tuple[float, float | None]] = []
        self._rejected = 0
        self._told: tuple[float, float, float] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf
        now = clock()
        self._synced_at = -math.inf
        self._credit, self._credited_at = 1.0, now
        self._share = Share(window=0)  # until the first sync
        self._rate = 0.0
        with file.exclusive(wait=True) as shared:
            assert shared is not None  # noqa: S101  as it waits
            if not shared.members:
                shared.rejected = 0  # of a run that is over
            limit = shared.limit
            limit.begin(now, most=most)
            self._limits: Limits = limit.limits(now, most=most)

    @property
    def window(self) -> int:
        """Calls in flight that the endpoint is given now, over all processes."""
        return int(self._limits.window)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._file.close()

    async def enter(self) -> float:
        """Wait for this call's turn and return the time at which it starts.

        `leave` must follow.
        """
        now = self._clock()
        if not self._waiting and self._may_start(now):
            self._start()
            if self._timer is None:
                self._wake(now, 1.0)  # a sign of life for the others
            return now
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if self.in_flight >= self._share.window and not (self._share.alone and self.in_flight):
            self._sync(now)  # this process may have had nothing to ask for
        else:
            self._sync_when_due(now)
        self._let_in(now)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # its turn had come: it is another's now
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise
        return self._clock()

    def leave(self) -> None:
        """Give the place back."""
        self.in_flight -= 1
        now = self._clock()
        if self.in_flight or self._waiting:
            self._sync_when_due(now)
        else:
            self._sync(now)  # what was granted here is free for others
        if self._waiting:
            self._let_in(now)

    def succeeded(self, *, latency: float, tokens: int) -> None:
        """Note that the call that is about to leave was served."""
        self._served += 1
        self._latency += latency
        self._tokens += tokens

    def refused(self, *, sent_at: float, retry_after: float | None = None) -> None:
        """Note that the call that is about to leave was refused for want of capacity."""
        self._refused.append((sent_at, retry_after))
        self._sync(self._clock())

    def rejected(self) -> int:
        """Note that the endpoint rejected what was in a request; return how many so far."""
        self._rejected += 1
        self._sync(self._clock())
        return self.rejections + self._rejected

    def told(self, rate: tuple[float, float, float]) -> None:
        """Note what the endpoint said of its own limit: see `rate_headers`."""
        self._told = rate

    def _start(self) -> None:
        self.in_flight += 1
        self._credit -= 1.0

    def _may_start(self, now: float) -> bool:
        if self.in_flight >= self._share.window or now < self._limits.paused_until:
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
        if self._waiting or self.in_flight:
            self._wake(now, self._delay(now))

    def _delay(self, now: float) -> float:
        """Return seconds until it makes sense to look again."""
        if not self._waiting:
            return 1.0  # a sign of life for the others
        if now < self._limits.paused_until:
            return min(self._limits.paused_until - now, 1.0)
        if self.in_flight < self._share.window and 0 < self._rate < math.inf:
            return min(max((1.0 - self._credit) / self._rate, 0.001), 0.25)
        return 0.1 if self._share.alone else _SYNC_INTERVAL

    def _wake(self, now: float, delay: float) -> None:
        """Look again in `delay` seconds, or before."""
        if self._timer is not None:
            if self._due <= now + delay:
                return
            self._timer.cancel()
        self._due = now + delay
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

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
        with self._file.exclusive() as shared:
            if shared is None:
                return  # another process has it: at the next look
            self._synced_at = now
            limit, most = shared.limit, self._most
            others = 0 if self._share.alone else self._share.in_flight
            in_flight = max(others, self.in_flight)
            if self._served:
                limit.succeeded(
                    now,
                    self._served,
                    latency=self._latency / self._served,
                    tokens=self._tokens / self._served,
                    most=most,
                )
                self._served, self._latency, self._tokens = 0, 0.0, 0.0
            for sent_at, retry_after in self._refused:
                limit.refused(now, sent_at=sent_at, in_flight=in_flight, retry_after=retry_after)
            self._refused.clear()
            if self._told is not None:
                limit.told(now, *self._told)
                self._told = None
            shared.rejected += self._rejected
            self.rejections, self._rejected = shared.rejected, 0
            waiting = len(self._waiting)
            limit.advance(
                now, in_flight=in_flight, waiting=max(self._share.waiting, waiting), most=most
            )
            self._limits = limit.limits(now, most=most)
            self._share = shared.attend(
                self._file.name,
                now,
                in_flight=self.in_flight,
                waiting=waiting,
                window=self._limits.window,
            )
            self.successes, self.refusals = limit.successes, limit.refusals
            self._rate = self._own_rate(limit.tokens_per_call)
            known = limit.is_known
        self._gauges["api_concurrency_limit"] = float(self.window)
        if known:
            self._gauges["api_calls_per_second_limit"] = round(self._limits.rate, 1)

    def _own_rate(self, tokens_per_call: float) -> float:
        rate = self._limits.rate
        if self._per_minute is not None:
            rate = min(rate, self._per_minute / 60)
        if self._tokens_per_minute is not None:
            tokens = tokens_per_call or self._guessed_tokens
            rate = min(rate, self._tokens_per_minute / 60 / tokens)
        return rate * self._share.part
