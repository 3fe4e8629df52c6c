"""First Ctrl-C: let tasks in flight finish. Second: stop at once. SIGTERM counts as one."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nanoeval_runner.engine import Engine

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SignalGuard:
    """Answers signals while an engine is open, in the main thread; a no-op in others.

    While an eval has tasks in flight, the first signal interrupts its engine in good order. At
    other times (loading tasks, summing up) nothing would be gained by waiting: it raises at once,
    as every second signal does.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._former: dict[int, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def install(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self._loop = asyncio.get_running_loop()
        for number in SIGNALS:
            # Ignored on purpose (nohup, a background job): leave it so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._former[number] = signal.signal(number, self._handle)

    def restore(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number, former in self._former.items():
            # Another engine of this process may have taken over meanwhile, and still needs it.
            if signal.getsignal(number) == self._handle:
                signal.signal(number, former if former is not None else signal.SIG_DFL)
        self._former.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        exit_code = 128 + number
        first = self._engine.interrupted is None
        if first and self._engine.can_drain and self._loop is not None:
            say(
                f"\n{signal.Signals(number).name}: finishing what is in flight; "
                "once more to stop at once"
            )
            self._loop.call_soon_threadsafe(self._engine.interrupt, exit_code)
            # Also the engines of other run sets on this loop.
            former = self._former.get(number)
            if callable(former) and isinstance(getattr(former, "__self__", None), SignalGuard):
                former(number, frame)
            return
        self._engine.interrupted = self._engine.interrupted or exit_code
        self._engine.kill_executors()
        raise interruption(exit_code, self._engine.resume_hint())


def interruption(exit_code: int, message: str) -> BaseException:
    """What ends a run that was stopped by a signal.

    Python exits with 130 for exactly KeyboardInterrupt, not for subclasses of it.
    """
    if exit_code == 128 + signal.SIGINT:
        return KeyboardInterrupt(message)
    say(message)
    return SystemExit(exit_code)


def say(text: str) -> None:
    """Tell the person at the terminal, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
