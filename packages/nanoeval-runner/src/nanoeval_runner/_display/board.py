"""One display for all runs of an event loop: it shows their views, brought up to date, in time."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import Protocol

from nanoeval_core.errors import ConfigError

from nanoeval_runner._display.surface import Lines, Notebook, Surface
from nanoeval_runner._display.terminal import Terminal
from nanoeval_runner._display.view import EvalView
from nanoeval_runner._interrupts import ipython_shell
from nanoeval_runner.formats import width_of, write_line
from nanoeval_runner.results import Collected, Result, collected, results_table

log = logging.getLogger("nanoeval.runner")

VARIABLE = "NANOEVAL_PROGRESS"
CHOICES = ("auto", "live", "lines", "off")

FIRST_DELAY = 0.3
"""Seconds before anything is drawn: a run that is shorter only shows its table."""


class Shown(Protocol):
    """A run, as the display knows it: what it came to, once that is known, and what it shows."""

    result: Result | None

    def shown(self) -> EvalView: ...


class Board:
    """The display of the runs that are going on together.

    Every run calls `tick`; whichever comes first when it is time does the work for all of them.

    Attributes:
        runs: those, those that are over among them.
        active: how many are not.
        next_tick: when it is time, in monotonic seconds.
    """

    def __init__(self) -> None:
        self.surface = choose_surface()
        self.runs: list[Shown] = []
        self.active = 0
        self.next_tick = time.monotonic() + max(FIRST_DELAY, self.surface.interval)
        self._was_shown = False

    def finish(self) -> None:
        """Show the results: every run is over."""
        finished = [run.result for run in self.runs if run.result is not None]
        audience = collected() or Collected()
        stream = audience.stream
        try:
            if self._was_shown:
                self.surface.close()
            audience.results += finished
            if not finished or not audience.is_shown:
                return
            terminal = self.surface.terminal if stream is None else stream
            width = width_of(terminal) if terminal is not None else None
            for line in results_table(finished, width):
                if stream is None:
                    self.surface.say(line)
                else:
                    write_line(stream, line)
        except Exception as error:  # noqa: BLE001  reported; what was run is not lost for it
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Go on without a display: the terminal is gone, or a pipe closed."""
        self.surface = Surface()
        log.warning("nothing more is shown (%s: %s)", type(error).__name__, error)

    def tick(self) -> None:
        """Update and show, if it is time."""
        if time.monotonic() >= self.next_tick:
            self._show()
            self.next_tick = time.monotonic() + self.surface.interval

    def show_last(self) -> None:
        """Show a run that ticks no more, unless others go on ticking."""
        if self.active == 1 and self._was_shown and self.surface.is_redrawn:
            self._show()

    def _show(self) -> None:
        self._was_shown = True
        try:
            self.surface.show([run.shown() for run in self.runs])
        except Exception as error:  # noqa: BLE001  reported; a display must not end a run
            self._give_up(error)


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
        return Surface()
    if choice == "auto" and getattr(ipython_shell(), "kernel", None) is not None:
        return Notebook()
    is_dumb = os.environ.get("TERM", "").lower() in ("", "dumb", "unknown")
    draws_lines = (stream.encoding or "").lower().startswith("utf")
    is_drawable = not is_dumb and draws_lines and not os.environ.get("CI") and stream.isatty()
    if choice == "live" or (choice == "auto" and is_drawable):
        return Terminal(stream)
    return Lines(stream)
