"""Where progress is shown: a terminal, a notebook, a log, or nowhere. Chosen once per display."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TextIO

from nanoeval_core.errors import ConfigError

from nanoeval_runner._display.terminal import Terminal
from nanoeval_runner._display.view import View
from nanoeval_runner.formats import write_line

VARIABLE = "NANOEVAL_PROGRESS"
CHOICES = ("auto", "live", "lines", "off")

FIRST_LINE_SECONDS = 10.0
SELDOMEST_LINE_SECONDS = 300.0
STANDSTILL_SECONDS = 60.0
LOOK_SECONDS = 2.5
"""Seconds between looks at what moves, where lines are printed."""


class Surface(Protocol):
    """Shows the same views again and again, then a table.

    Attributes:
        interval: seconds until the next `show`, at least.
        is_redrawn: whether a `show` takes the place of the one before.
        is_due: whether the next `show` shows scores, so that they are worth adding up.
        width: how many columns there are; None where lines may be of any length.
    """

    interval: float
    is_redrawn: bool

    @property
    def is_due(self) -> bool: ...

    @property
    def width(self) -> int | None: ...

    def show(self, views: Sequence[View]) -> None:
        """Show how far things are."""

    def say(self, text: str) -> None:
        """Show a text once, where it will stay."""

    def close(self) -> None:
        """Take down what `show` put up."""


class Nowhere:
    """Shows nothing."""

    interval = 60.0
    is_redrawn = False
    is_due = False
    width = None

    def show(self, views: Sequence[View]) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class Lines:
    """A line per eval now and then: after 10 s, then at intervals that grow to 5 minutes.

    Where nothing moves, a line says so and why within 10 s, at most once a minute.
    """

    interval = LOOK_SECONDS
    is_redrawn = False
    width = None

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._between = FIRST_LINE_SECONDS
        self._next_line = time.monotonic() + FIRST_LINE_SECONDS
        self._said_at: dict[int, float] = {}  # why it stood still, by the number of the eval

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._next_line

    def show(self, views: Sequence[View]) -> None:
        is_due, now = self.is_due, time.monotonic()
        for number, view in enumerate(views):
            standstill = view.standstill(now)
            is_news = (
                standstill and now >= self._said_at.get(number, -math.inf) + STANDSTILL_SECONDS
            )
            if view.state == "running" and (is_due or is_news):
                self.say(view.line(now))
                if standstill:
                    self.say(f"  {standstill}")
                    self._said_at[number] = now
        if is_due:
            self._between = min(self._between * 1.5, SELDOMEST_LINE_SECONDS)
            self._next_line = now + self._between

    def say(self, text: str) -> None:
        write_line(self._stream, text)

    def close(self) -> None:
        pass


class Notebook:
    """An output of the cell that is replaced as things go on."""

    interval = 1.0
    is_redrawn = True
    is_due = True
    width = None

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, views: Sequence[View]) -> None:
        now = time.monotonic()
        shown = {"text/plain": "\n".join(view.line(now) for view in views)}
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


def choose_surface() -> Surface:
    """Return the surface for this process's stderr, or what `NANOEVAL_PROGRESS` says.

    By default a notebook's cell, or a terminal that can move its cursor and has somebody to look
    at it; lines elsewhere.

    Raises:
        ConfigError: that variable has another value than `auto`, `live`, `lines` or `off`.
    """
    choice = os.environ.get(VARIABLE) or "auto"
    if choice not in CHOICES:
        raise ConfigError(f"{VARIABLE}={choice!r}: choose one of {', '.join(CHOICES)}")
    stream = sys.stderr
    if choice == "off" or stream is None:
        return Nowhere()
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if choice == "auto" and getattr(shell, "kernel", None) is not None:
        return Notebook()
    is_dumb = os.environ.get("TERM", "").lower() in ("", "dumb", "unknown")
    draws_lines = (stream.encoding or "").lower().startswith("utf")
    is_drawable = not is_dumb and draws_lines and not os.environ.get("CI") and stream.isatty()
    if choice == "live" or (choice == "auto" and is_drawable):
        return Terminal(stream)
    return Lines(stream)
