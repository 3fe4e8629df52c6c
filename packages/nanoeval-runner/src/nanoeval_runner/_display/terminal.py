"""The display on a terminal. rich is loaded when there is something to draw, not before."""

from __future__ import annotations

import logging
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from nanoeval_runner._display.surface import Surface
from nanoeval_runner._display.view import EvalView
from nanoeval_runner.formats import write_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

SHORTEST_INTERVAL = 0.25
COST_FACTOR = 200
"""A drawing is followed by this many times its own CPU time without one: 0.5 % at most."""
BAR_WIDTH = 28
STANDSTILL_LINES = 4
"""As many lines as a run may take to say why nothing moves."""


class Terminal(Surface):
    """Redraws the same few lines, as wide and as many as the terminal has room for.

    What is written to stdout and stderr meanwhile, and what is logged, appears above them. The
    cursor stays visible, so that a killed run does not leave a terminal without one.
    """

    interval = SHORTEST_INTERVAL
    is_redrawn = True

    def __init__(self, stream: TextIO) -> None:
        self.terminal: TextIO = stream
        self._live: Live | None = None
        self._width = 0
        self._lengths: list[int] = []
        self._handlers: list[tuple[logging.StreamHandler[Any], Any]] = []

    def show(self, views: Sequence[EvalView]) -> None:
        live = self._started()
        before = time.thread_time()
        width, height = live.console.size
        lines = list(fitting(views, width, height))
        self._make_room(live.console, width)
        self._width, self._lengths = width, [line.cell_len for line in lines]
        from rich.console import Group  # noqa: PLC0415  already loaded

        live.update(Group(*lines), refresh=True)
        cost = time.thread_time() - before
        self.interval = max(SHORTEST_INTERVAL, COST_FACTOR * cost)

    def _started(self) -> Live:
        if self._live is None:
            from rich.console import Console  # noqa: PLC0415  heavy; only for terminals
            from rich.live import Live  # noqa: PLC0415

            class VisibleCursorConsole(Console):
                def show_cursor(self, show: bool = True) -> bool:
                    return False

            self._live = Live(
                console=VisibleCursorConsole(
                    file=self.terminal, force_terminal=True, highlight=False
                ),
                auto_refresh=False,
                transient=True,
                redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
                redirect_stderr=True,
            )
            self._live.start()
            self._redirect_logging()
        return self._live

    def _make_room(self, console: Console, width: int) -> None:
        """Remove the rows into which lines were broken when the terminal became narrower."""
        if width >= self._width or not self._lengths:
            return
        from rich.control import Control  # noqa: PLC0415  already loaded
        from rich.segment import ControlType  # noqa: PLC0415

        rows = sum(max(1, -(-length // width)) for length in self._lengths)
        for _ in range(rows - len(self._lengths)):
            console.control(
                Control(
                    ControlType.CARRIAGE_RETURN,
                    (ControlType.ERASE_IN_LINE, 2),
                    (ControlType.CURSOR_UP, 1),
                )
            )

    def _redirect_logging(self) -> None:
        """Have what log handlers write pass above the display: they hold the stream they had."""
        originals = {self.terminal, sys.__stderr__}
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream in originals:
                self._handlers.append((handler, handler.stream))
                handler.setStream(sys.stderr)

    def say(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            write_line(self.terminal, text)

    def close(self) -> None:
        for handler, stream in self._handlers:
            handler.setStream(stream)
        self._handlers.clear()
        if self._live is not None:
            self._live.stop()
            self._live = None
            self._lengths = []


def fitting(views: Sequence[EvalView], width: int, height: int) -> Iterator[Text]:
    """Yield the lines for `views`: two each if they fit, else one each, else those that fit."""
    from rich.text import Text  # noqa: PLC0415  heavy; only for terminals

    room = max(1, height - 2)
    running = [view for view in views if view.state == "running"]
    shown = list(views) if len(views) <= room else (running or list(views))
    left_out = 0
    if len(shown) > room:
        shown, left_out = shown[: room - 1], len(shown) - room + 1
    name_width = min(max(len(view.name) for view in shown), max(12, width // 3))
    for view in shown:
        yield _first_line(view, width, name_width)
        if 2 * len(shown) + bool(left_out) > room:
            continue
        standstill = view.standstill()
        most = STANDSTILL_LINES if STANDSTILL_LINES * len(shown) + bool(left_out) <= room else 1
        said = textwrap.wrap(standstill, width - 3, max_lines=most, placeholder=" …")
        for line in said or [" · ".join(view.details())]:
            details = Text("  " + line, style="dim", no_wrap=True)
            details.truncate(width - 1, overflow="ellipsis")
            yield details
    if left_out:
        done, total = sum(v.done for v in views), sum(v.total for v in views)
        text = Text(f"and {left_out} more; {done:,}/{total:,} of all tasks", style="dim")
        text.truncate(width - 1, overflow="ellipsis")
        yield text


def _first_line(view: EvalView, width: int, name_width: int) -> Text:
    from rich.text import Text  # noqa: PLC0415  heavy; only for terminals

    line = Text(no_wrap=True)
    name = Text(view.name, style="bold")
    name.truncate(name_width, overflow="ellipsis", pad=True)
    line.append_text(name)
    behind = f" {view.counts()} " + "  ".join(view.pace())
    bar = min(BAR_WIDTH, width - name_width - len(behind) - 3)
    if bar >= 5:
        full = round(bar * view.share)
        line.append(" ")
        line.append("━" * full, style="green")
        line.append("─" * (bar - full), style="bright_black")
    line.append(behind)
    line.truncate(width - 1, overflow="ellipsis")
    return line
