"""Ctrl-C and SIGTERM: first let tasks in flight finish, then do what the signal would have done.

The first signal raises nothing, wherever it arrives. Runs that have tasks in flight let them
finish; runs that list tasks or sum up are cancelled. When the last of them has ended, and its run
set is closed, the signal is passed to the handler that was there before: that of `asyncio.run`
cancels the main task and raises KeyboardInterrupt, a notebook's cancels the cell, and SIGTERM,
which has none, ends the process. So it does not matter which coroutine called `run`, nor how
many did.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine, Sequence
from types import FrameType
from typing import Any, NoReturn, Protocol, TypeVar

from nanoeval_runner.formats import write_line

log = logging.getLogger("nanoeval.runner")

T = TypeVar("T")

EXIT_SECONDS = 3.0
"""How long the event loop may not answer after a signal, or the end may take after the second."""


class Interrupted(Exception):
    """A run has ended as a signal asked; the message says what is left, and how to resume."""


class Interruptible(Protocol):
    """A run set, as signals see it."""

    grace: float
    resume_hint: str

    @property
    def can_finish(self) -> bool: ...
    def interrupt(self) -> None: ...
    def stop_at_once(self) -> None: ...
    def inspect(self) -> None: ...


class Signals:
    """Answers signals while run sets of one event loop are open, in the main thread.

    Attributes:
        number: the signal that came first; None while none has.
        run_sets: what it interrupts, as it is then.
    """

    def __init__(self, run_sets: Sequence[Interruptible]) -> None:
        self.number: int | None = None
        self.run_sets = run_sets
        self._former: dict[int, Any] = {}
        self._loop = asyncio.get_running_loop()
        self._passed_on = asyncio.Event()
        self._is_over = threading.Event()

    def install(self) -> None:
        if self._former or threading.current_thread() is not threading.main_thread():
            return
        self._former[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._inspect)
        for number in (signal.SIGINT, signal.SIGTERM):
            # Ignored on purpose (nohup, a background job): leave it so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._former[number] = signal.signal(number, self._handle)

    def restore(self) -> None:
        """Put the former handlers back, where nobody has put others meanwhile."""
        self._is_over.set()
        for number, former in self._former.items():
            if signal.getsignal(number) in (self._handle, self._inspect):
                signal.signal(number, former if former is not None else signal.SIG_DFL)

    @property
    def name(self) -> str:
        return signal.Signals(self.number).name if self.number is not None else ""

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number = number
            if any(run_set.can_finish for run_set in self.run_sets):
                say(f"\n{self.name}: finishing what is in flight; once more to stop at once")
            for run_set in self.run_sets:
                self._loop.call_soon_threadsafe(run_set.interrupt)
            self._on_thread(self._end_process_unless_answered)
            return
        for run_set in self.run_sets:
            run_set.stop_at_once()
            say(f"stopped. {run_set.resume_hint}")
        self._on_thread(self._end_process_soon)
        self.pass_on(frame)

    def _inspect(self, number: int, frame: FrameType | None) -> None:
        for run_set in self.run_sets:
            self._loop.call_soon_threadsafe(run_set.inspect)

    # --- what the signal would have done

    async def passed_on(self) -> NoReturn:
        """Wait until all runs have ended and the signal is passed on; then end this task.

        Raises:
            asyncio.CancelledError: always.
        """
        await self._passed_on.wait()
        raise asyncio.CancelledError(f"{self.name}: the run was interrupted") from None

    def pass_on(self, frame: FrameType | None = None) -> None:
        """Do what the signal would have done when it came, once."""
        assert self.number is not None  # noqa: S101  it came
        if self._passed_on.is_set():
            return
        self._loop.call_soon_threadsafe(self._passed_on.set)
        self._passed_on.set()
        former = self._former.get(self.number)
        if callable(former):
            former(self.number, frame)
        else:
            # Not in the handler's frame, which may be any task's: out of the event loop.
            self._loop.call_soon_threadsafe(sys.exit, 128 + self.number)

    # --- when nothing else ends it

    def _on_thread(self, watch: Callable[[], None]) -> None:
        # Not where the process is not ours to end: a notebook, an interactive session.
        if ipython_shell() is None and not hasattr(sys, "ps1") and not sys.flags.interactive:
            threading.Thread(target=watch, name="nanoeval-interrupt", daemon=True).start()

    def _end_process_soon(self) -> None:
        """End the process, unless it has ended by then: "at once" is a promise."""
        if not self._is_over.wait(EXIT_SECONDS):
            self._end_process()

    def _end_process_unless_answered(self) -> None:
        """End the process if, once tasks had their grace, the event loop is blocked."""
        wait = max((run_set.grace for run_set in self.run_sets), default=0.0)
        while not self._is_over.wait(wait):
            wait = EXIT_SECONDS
            answered = threading.Event()
            try:
                self._loop.call_soon_threadsafe(answered.set)
            except RuntimeError:  # it is closed
                return
            if not answered.wait(EXIT_SECONDS) and not self._is_over.is_set():
                say("the event loop does not answer: tasks that compute are cut off")
                for run_set in self.run_sets:
                    run_set.stop_at_once()
                self._end_process()

    def _end_process(self) -> NoReturn:
        with contextlib.suppress(OSError, ValueError):  # a pipe whose reader is gone
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(128 + (self.number or 0))


def run_to_its_end(
    main: Coroutine[Any, Any, T],
    *,
    may_exit: Callable[[asyncio.AbstractEventLoop], bool],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> T:
    """Run a coroutine as `asyncio.run` does, but let no task or callback but it end the program.

    asyncio lets KeyboardInterrupt and SystemExit out of the event loop wherever they are raised.
    Here they are an exception like others of the task that raised them.

    Args:
        may_exit: whether such an exception, while `main` goes on, is to end the program.
    """
    running: asyncio.Task[T] | None = None

    async def go_on() -> asyncio.Task[T]:
        nonlocal running
        running = running or asyncio.create_task(main)
        while not running.done():
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError:
                running.cancel()
        if running.cancelled():
            raise asyncio.CancelledError  # of a Ctrl-C, the Runner makes KeyboardInterrupt of it
        return running

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        while True:
            try:
                # What `main` raised is raised here: a `go_on` may be left over, and be cancelled
                # with what else goes on.
                return runner.run(go_on()).result()
            except (KeyboardInterrupt, SystemExit) as error:
                if running is None or running.done() or may_exit(runner.get_loop()):
                    raise
                frame = traceback.extract_tb(error.__traceback__)[-1]
                log.warning(
                    "%s at %s:%s does not end the run: it was raised in what a task began",
                    repr(error), frame.filename, frame.lineno,
                )  # fmt: skip


def ipython_shell() -> Any:
    """Return the shell that this process is: IPython's, or a notebook's; None without one."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def say(text: str) -> None:
    """Tell the person at the terminal, on stderr."""
    write_line(sys.stderr, text)
