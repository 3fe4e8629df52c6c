"""One display for all runs of an event loop: collects what it shows, and shows it in time."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nanoeval_runner._display.final_table import final_table
from nanoeval_runner._display.forecast import Work, seconds_left
from nanoeval_runner._display.surfaces import Nowhere, Surface, choose_surface
from nanoeval_runner._inspection import PORT_GAUGE
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.rows import EvalRow, ExecutorRow, TaskTimes

if TYPE_CHECKING:
    from nanoeval_runner._engine import Engine
    from nanoeval_runner._progress import Progress

log = logging.getLogger("nanoeval.runner")

FIRST_DELAY = 0.3
"""Seconds before anything is drawn: a run that is shorter only shows its table."""

TIMES_SAMPLED = 800
FORECAST_SECONDS = 2.0
FORECAST_COST_FACTOR = 300
"""A forecast is followed by this many times its own duration without one."""


class Board:
    """The display of the runs that are going on together. Made by `boards.join`.

    Every run's `Progress` calls `tick`; whichever comes first when it is time does the work for
    all of them.
    """

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        self.members: list[Progress] = []
        self._active = 0
        self._next = time.monotonic() + max(FIRST_DELAY, surface.interval)
        self._next_forecast = 0.0
        self._ticking = False
        self._was_shown = False
        self._rng = random.Random(0)

    def join(self, member: Progress) -> None:
        self.members.append(member)
        self._active += 1

    def leave(self) -> bool:
        """One run is over. After the last, show the table; True then, and the board is used up."""
        self._active -= 1
        if self._active:
            return False
        finished = [m.view for m in self.members if m.view.summary is not None]
        try:
            self.surface.close()
            for line in final_table(finished, self.surface.width) if finished else ():
                self.surface.say(line)
        except Exception as error:  # noqa: BLE001  reported; what was run is not lost for it
            self._give_up(error)
        return True

    def _give_up(self, error: Exception) -> None:
        """The terminal is gone, or a pipe closed: the runs go on without a display."""
        self.surface = Nowhere()
        log.warning("nothing more is shown (%s: %s)", type(error).__name__, error)

    def seconds_to_next(self) -> float:
        return max(0.0, self._next - time.monotonic())

    async def tick(self) -> None:
        """Update and show, if it is time and nobody else is at it."""
        if self._ticking or time.monotonic() < self._next:
            return
        self._ticking = True
        try:
            await self._update()
            self.surface.show([member.view for member in self.members])
            self._was_shown = True
        except Exception as error:  # noqa: BLE001  reported; a display must not end a run
            self._give_up(error)
        finally:
            self._ticking = False
            self._next = time.monotonic() + self.surface.interval

    def show_last(self) -> None:
        """A view changed and its run ticks no more: show that, unless others go on ticking."""
        if self._active == 1 and self._was_shown and self.surface.is_redrawn:
            try:
                self.surface.show([member.view for member in self.members])
            except Exception as error:  # noqa: BLE001  reported; a display must not end a run
                self._give_up(error)

    async def _update(self) -> None:
        by_engine: dict[Engine, list[Progress]] = {}
        for member in self.members:
            if member.view.state == "running":
                by_engine.setdefault(member.engine, []).append(member)
        is_due = time.monotonic() >= self._next_forecast
        for engine, members in by_engine.items():
            rows = {row.id: row for row in await engine.store.call(transactions.list_evals)}
            gauges = gauges_of(await engine.store.call(transactions.list_executors))
            for member in members:
                member.view.gauges = gauges
                await member.update(rows.get(member.run.eval_id))
            if is_due:
                await self._forecast(engine, members, rows)

    async def _forecast(
        self, engine: Engine, members: list[Progress], rows: dict[int, EvalRow]
    ) -> None:
        times = await engine.store.call(
            transactions.sample_times, TIMES_SAMPLED, self._rng.getrandbits(63)
        )
        started = time.monotonic()
        by_eval: dict[int, TaskTimes] = {t.eval_id: t for t in times}
        for member in members:
            row, sampled = rows.get(member.run.eval_id), by_eval.get(member.run.eval_id)
            left = None
            if row is not None and sampled is not None:
                left = seconds_left(
                    Work(
                        finished=sampled.finished,
                        ages=sampled.ages,
                        done=row.done + row.failed,
                        in_flight=row.leased,
                        queued=row.queued,
                        limit=row.concurrency,
                    )
                )
            member.view.ends_at = None if left is None else time.monotonic() + left
        now = time.monotonic()
        self._next_forecast = now + max(FORECAST_SECONDS, FORECAST_COST_FACTOR * (now - started))


def gauges_of(executors: Sequence[ExecutorRow]) -> dict[str, float]:
    """What the running executors publish, such as a rate limit in force; the largest of each."""
    gauges: dict[str, float] = {}
    for row in executors:
        if row.state == "running":
            for name, value in json.loads(row.gauges).items():
                gauges[name] = max(value, gauges.get(name, value))
    gauges.pop(PORT_GAUGE, None)
    return gauges


class _Boards:
    """Owns the board of each event loop, while runs are going on there."""

    def __init__(self) -> None:
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Board]
        self._by_loop = weakref.WeakKeyDictionary()

    def join(self, member: Progress) -> Board:
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
