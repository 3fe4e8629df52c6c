"""Where progress is shown: a notebook, a log, or nowhere; `terminal` has the fourth."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from nanoeval_runner._display.view import EvalView
from nanoeval_runner.formats import write_line

FIRST_LINE_SECONDS = 10.0
SELDOMEST_LINE_SECONDS = 300.0
STANDSTILL_SECONDS = 60.0
LOOK_SECONDS = 2.5
"""Seconds between looks at what moves, where lines are printed."""


class Surface:
    """Shows the same views again and again, then a table. This one shows nothing.

    Attributes:
        interval: seconds until the next `show`, at least.
        is_redrawn: whether a `show` takes the place of the one before.
        terminal: the one that lines must fit; None where they may be of any length.
    """

    interval: float = 60.0
    is_redrawn = False
    terminal: TextIO | None = None

    @property
    def is_due(self) -> bool:
        """Whether the next `show` shows scores, so that they are worth adding up."""
        return self.is_redrawn

    def show(self, views: Sequence[EvalView]) -> None:
        """Show how far things are."""

    def say(self, text: str) -> None:
        """Show a text once, where it will stay."""

    def close(self) -> None:
        """Take down what `show` put up."""


class Lines(Surface):
    """A line per eval now and then: after 10 s, then at intervals that grow to 5 minutes.

    Where nothing moves, a line says so and why within 10 s, at most once a minute.
    """

    interval = LOOK_SECONDS

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._between = FIRST_LINE_SECONDS
        self._next_line = time.monotonic() + FIRST_LINE_SECONDS
        self._said_at: dict[int, float] = {}  # why it stood still, by the number of the eval

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._next_line

    def show(self, views: Sequence[EvalView]) -> None:
        is_due, now = self.is_due, time.monotonic()
        for number, view in enumerate(views):
            standstill = view.standstill()
            is_new = standstill and now >= self._said_at.get(number, -math.inf) + STANDSTILL_SECONDS
            if view.state == "running" and (is_due or is_new):
                self.say(view.line())
                if standstill:
                    self.say(f"  {standstill}")
                    self._said_at[number] = now
        if is_due:
            self._between = min(self._between * 1.5, SELDOMEST_LINE_SECONDS)
            self._next_line = now + self._between

    def say(self, text: str) -> None:
        write_line(self._stream, text)


class Notebook(Surface):
    """An output of the cell that is replaced as things go on."""

    interval = 1.0
    is_redrawn = True

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, views: Sequence[EvalView]) -> None:
        shown = {"text/plain": "\n".join(view.line() for view in views)}
        if self._handle is None:
            self._handle = _notebook_display()(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)

    def say(self, text: str) -> None:
        _notebook_display()({"text/plain": text}, raw=True)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.update({"text/plain": ""}, raw=True)
            self._handle = None


def _notebook_display() -> Callable[..., Any]:
    # Not imported: it is loaded wherever there is a notebook, and nowhere else needed.
    display: Callable[..., Any] = sys.modules["IPython.display"].display
    return display
