"""A time limit whose clock can be stopped, as while waiting for something not to be counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar

from nanoeval_core.asyncio_utils import HasAsyncContextManager
from nanoeval_core.usage import pause_clocks

__all__ = ["NamedTimeoutError", "PausableTimer", "pause_all_pausable_timers"]

MOST_SECONDS = 100_000_000


class NamedTimeoutError(asyncio.TimeoutError):
    """A time limit that has a name was exceeded."""

    def __init__(self, timeout_type: str, message: str) -> None:
        super().__init__(message)
        self.timeout_type = timeout_type

    def __reduce__(self) -> tuple[type[NamedTimeoutError], tuple[str, str]]:
        return type(self), (self.timeout_type, str(self))


_running: ContextVar[tuple[PausableTimer, ...]] = ContextVar("running_timers", default=())


class PausableTimer(HasAsyncContextManager):
    """A time limit on the body of `async with`, once per object.

    When it is exceeded, `NamedTimeoutError` is raised; other timeouts pass as they are.
    """

    def __init__(self, name: str, timeout_seconds: float) -> None:
        if timeout_seconds >= MOST_SECONDS:
            raise AssertionError(
                f"{name}: a limit of {timeout_seconds} seconds is above {MOST_SECONDS}"
            )
        self.name = name
        self.timeout_seconds = timeout_seconds
        self.start_time: float | None = None
        self._timer: asyncio.Timeout | None = None
        self._paused_at: float | None = None
        self._paused_seconds = 0.0

    @property
    def timer(self) -> asyncio.Timeout:
        if self._timer is None:
            raise AssertionError(f"timer {self.name!r} has not been started")
        return self._timer

    @property
    def paused(self) -> bool:
        return self._paused_at is not None

    @property
    def elapsed(self) -> float:
        """Seconds since the start, pauses not counted."""
        now = asyncio.get_running_loop().time()
        if self.start_time is None or self.paused:
            state = "has not been started" if self.start_time is None else "is paused"
            raise AssertionError(f"timer {self.name!r} {state}")
        return now - self.start_time - self._paused_seconds

    @property
    def remaining(self) -> float:
        return self.timeout_seconds - self.elapsed

    @contextlib.asynccontextmanager
    async def _context(self) -> AsyncIterator[None]:
        if self._timer is not None:
            raise AssertionError(f"timer {self.name!r} was started before: make another one")
        self._timer = asyncio.timeout(self.timeout_seconds)
        self.start_time = asyncio.get_running_loop().time()
        # Set back rather than reset by token: a generator may be closed in another context.
        before, clocks = _running.get(), pause_clocks.get()
        _running.set((*before, self))
        pause_clocks.set(pause_all_pausable_timers)
        try:
            async with self._timer:
                yield
        except TimeoutError as error:
            if not self._timer.expired():
                raise
            raise NamedTimeoutError(
                self.name, f"Timeout {self.name} of {self.timeout_seconds} seconds exceeded"
            ) from error
        finally:
            _running.set(before)
            pause_clocks.set(clocks)

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Stop the clock while the body runs."""
        if self.paused:
            raise AssertionError(f"timer {self.name!r} is already paused")
        if self.timer.expired():
            raise AssertionError(f"timer {self.name!r} has expired")
        loop = asyncio.get_running_loop()
        paused_at = self._paused_at = loop.time()
        self.timer.reschedule(None)
        try:
            yield
        finally:
            self._paused_at = None
            self._paused_seconds += loop.time() - paused_at
            if not self.timer.expired() and self.start_time is not None:
                self.timer.reschedule(self.start_time + self.timeout_seconds + self._paused_seconds)


@contextlib.contextmanager
def pause_all_pausable_timers() -> Iterator[None]:
    """Stop the clock of every timer that runs in this context while the body runs."""
    with contextlib.ExitStack() as stack:
        for timer in _running.get():
            if not (timer.paused or timer.timer.expired()):
                stack.enter_context(timer.pause())
        yield
