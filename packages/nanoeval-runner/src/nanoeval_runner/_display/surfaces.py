"""Where progress is shown: a terminal, a notebook, a log, or nowhere. Chosen once per display."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from nanoeval_core.errors import ConfigError

from nanoeval_runner._display.surface import Surface, write_line
from nanoeval_runner._display.terminal import Terminal
from nanoeval_runner._display.view import View

VARIABLE = "NANOEVAL_PROGRESS"
CHOICES = ("auto", "live", "lines", "off")

FIRST_LINE_SECONDS = 10.0
SELDOMEST_LINE_SECONDS = 300.0


class Nowhere(Surface):
    """Shows nothing."""

    interval = 60.0

    def show(self, views: Sequence[View]) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class Lines(Surface):
    """A line per eval now and then: after 10 s, then at intervals that grow to 5 minutes."""

    def __init__(self, stream: TextIO) -> None:
        self.interval = FIRST_LINE_SECONDS
        self._stream = stream

    def show(self, views: Sequence[View]) -> None:
        now = time.monotonic()
        for view in views:
            if view.state == "running":
                self.say(view.line(now))
                standstill = view.standstill(now)
                if standstill:
                    self.say(f"  {standstill}")
        self.interval = min(self.interval * 1.5, SELDOMEST_LINE_SECONDS)

    def say(self, text: str) -> None:
        write_line(self._stream, text)

    def close(self) -> None:
        pass


class Notebook(Surface):
    """An output of the cell that is replaced as things go on."""

    interval = 1.0
    is_redrawn = True

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
    """The surface for this process's stderr, or what `NANOEVAL_PROGRESS` says.

    Raises:
        ConfigError: that variable has another value than `auto`, `live`, `lines` or `off`.
    """
    choice = os.environ.get(VARIABLE) or "auto"
    if choice not in CHOICES:
        raise ConfigError(f"{VARIABLE}={choice!r}: choose one of {', '.join(CHOICES)}")
    stream = sys.stderr
    if choice == "off" or stream is None:
        return Nowhere()
    if choice == "auto" and in_notebook():
        return Notebook()
    if choice == "live" or (choice == "auto" and is_drawable(stream)):
        return Terminal(stream)
    return Lines(stream)


def is_drawable(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that can move its cursor, with somebody to look at it."""
    dumb = os.environ.get("TERM", "").lower() in ("", "dumb", "unknown")
    draws_lines = (stream.encoding or "").lower().startswith("utf")
    return not dumb and draws_lines and not os.environ.get("CI") and stream.isatty()


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
