"""One display for all runs of an event loop: asks each run for its view, and shows it in time."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from typing import Protocol

from nanoeval_runner._display.surface import Surface, width_of, write_line
from nanoeval_runner._display.surfaces import Nowhere, choose_surface
from nanoeval_runner._display.view import View
from nanoeval_runner.results import collected, results_table

log = logging.getLogger("nanoeval.runner")

FIRST_DELAY = 0.3
"""Seconds before anything is drawn: a run that is shorter only shows its table."""


class Shown(Protocol):
    """A run, as the display knows it."""

    view: View

    def update(self) -> None:
        """Bring `view` up to date."""


class Board:
    """The display of the runs that are going on together. Made by `boards.join`.

    Every run calls `tick`; whichever comes first when it is time does the work for all of them.
    """

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        self.members: list[Shown] = []
        self._active = 0
        self._next = time.monotonic() + max(FIRST_DELAY, surface.interval)
        self._was_shown = False

    def join(self, member: Shown) -> None:
        self.members.append(member)
        self._active += 1

    def leave(self) -> bool:
        """One run is over. After the last, show the results; True then: the board is used up."""
        self._active -= 1
        if self._active:
            return False
        finished = [m.view.result() for m in self.members if m.view.summary is not None]
        audience = collected()
        try:
            self.surface.close()
            if audience is not None:
                audience.results += finished
            if not finished or (audience is not None and not audience.is_shown):
                return True
            stream = audience.stream if audience is not None else None
            width = self.surface.width if stream is None else width_of(stream)
            for line in results_table(finished, width):
                if stream is None:
                    self.surface.say(line)
                else:
                    write_line(stream, line)
        except Exception as error:  # noqa: BLE001  reported; what was run is not lost for it
            self._give_up(error)
        return True

    def _give_up(self, error: Exception) -> None:
        """The terminal is gone, or a pipe closed: the runs go on without a display."""
        self.surface = Nowhere()
        log.warning("nothing more is shown (%s: %s)", type(error).__name__, error)

    def seconds_to_next(self) -> float:
        return max(0.0, self._next - time.monotonic())

    def tick(self) -> None:
        """Update and show, if it is time."""
        if time.monotonic() < self._next:
            return
        try:
            for member in self.members:
                if member.view.state == "running":
                    member.update()
            self._show()
            self._was_shown = True
        except Exception as error:  # noqa: BLE001  reported; a display must not end a run
            self._give_up(error)
        finally:
            self._next = time.monotonic() + self.surface.interval

    def _show(self) -> None:
        self.surface.show([member.view for member in self.members])

    def show_last(self) -> None:
        """A view changed and its run ticks no more: show that, unless others go on ticking."""
        if self._active == 1 and self._was_shown and self.surface.is_redrawn:
            try:
                for member in self.members:
                    member.update()
                self._show()
            except Exception as error:  # noqa: BLE001  reported; a display must not end a run
                self._give_up(error)


class _Boards:
    """Owns the board of each event loop, while runs are going on there."""

    def __init__(self) -> None:
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Board]
        self._by_loop = weakref.WeakKeyDictionary()

    def join(self, member: Shown) -> Board:
        loop = asyncio.get_running_loop()
        board = self._by_loop.get(loop)
        if board is None:
            board = self._by_loop[loop] = Board(choose_surface())
        board.join(member)
        return board

    def leave(self, board: Board) -> None:
        if board.leave():
            del self._by_loop[asyncio.get_running_loop()]


boards = _Boards()
