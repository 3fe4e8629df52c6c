"""First Ctrl-C: let tasks in flight finish. Second: stop at once. SIGTERM counts as one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nanoeval_runner._engine import Engine

EXIT_SECONDS = 3.0
"""How long cleaning up may take after the second signal."""

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
        self._former[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._inspect)
        for number in SIGNALS:
            # Ignored on purpose (nohup, a background job): leave it so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._former[number] = signal.signal(number, self._handle)

    def restore(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number, former in self._former.items():
            # Another engine of this process may have taken over meanwhile, and still needs it.
            if signal.getsignal(number) in (self._handle, self._inspect):
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
        self._engine.stop_at_once()
        _exit_soon(exit_code)
        message = self._engine.interruption_message()
        say(message)
        raise interruption(exit_code, message)

    def _inspect(self, number: int, frame: FrameType | None) -> None:
        """SIGUSR1: print where everything is."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._engine.inspect)


def _exit_soon(exit_code: int) -> None:
    """Leave even if user code swallows its cancellation: "at once" is a promise.

    Not where the process is not ours to end: a notebook, an interactive session, a test run.
    """
    if hasattr(sys, "ps1") or "IPython" in sys.modules or "pytest" in sys.modules:
        return
    timer = threading.Timer(EXIT_SECONDS, os._exit, (exit_code,))
    timer.daemon = True
    timer.start()


def interruption(exit_code: int, message: str) -> BaseException:
    """What ends a run that was stopped by a signal.

    Python exits with 130 for exactly KeyboardInterrupt, not for subclasses of it.
    """
    if exit_code == 128 + signal.SIGINT:
        return KeyboardInterrupt(message)
    return SystemExit(exit_code)


def say(text: str) -> None:
    """Tell the person at the terminal, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
