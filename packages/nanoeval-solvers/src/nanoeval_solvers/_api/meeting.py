"""Where the processes of a run meet to be one polite client: a small shared file of floats.

A process that is killed leaves nothing locked (the lock is the operating system's) and its calls
in flight are forgotten `PRESENCE` seconds after its last sign of life.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nanoeval_solvers._api import adaptive as _adaptive

PRESENCE = 5.0  # seconds
_PLACES = 256
_PLACE_SIZE = 5  # owner, seen at, in flight, waiting, granted
_SIZE = _adaptive.SIZE + _PLACES * _PLACE_SIZE


class Share(NamedTuple):
    """One process's part.

    Attributes:
        window: calls that it may have in flight; over all processes they never add up to more
            than the whole window, except while that shrinks.
        part: of the rate, from 0 to 1.
        alone: no other process is there.
        in_flight: calls in flight, over all processes.
        waiting: calls that wait to start, over all processes.
    """

    window: int
    part: float
    in_flight: int
    waiting: int
    alone: bool = True


class Meeting:
    """The shared numbers of one endpoint, in a file or, without one, in this process.

    Args:
        path: the file, made when missing; its folder must exist.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._file: int | None = None
        self._map: mmap.mmap | None = None
        self._owner = float(int.from_bytes(os.urandom(6)))
        self._place = 0
        self.numbers: memoryview[float]
        if path is None:
            self.numbers = memoryview(bytearray(8 * _SIZE)).cast("d")
            return
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with self._locked(wait=True):
            if os.fstat(self._file).st_size < 8 * _SIZE:
                os.ftruncate(self._file, 8 * _SIZE)
        self._map = mmap.mmap(self._file, 8 * _SIZE)
        self.numbers = memoryview(self._map).cast("d")

    def close(self) -> None:
        if self._file is None:
            return
        if self._place:
            with self._locked(wait=True):
                self._leave()
        self.numbers.release()
        if self._map is not None:
            self._map.close()
        os.close(self._file)
        self._file = None

    @contextlib.contextmanager
    def _locked(self, *, wait: bool) -> Iterator[bool]:
        assert self._file is not None  # noqa: S101
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[bool]:
        """Whether the numbers are this process's alone for now; if not, try again later.

        Never waits: a process stopped while it holds the lock must not stop the others.
        """
        if self._file is None:
            yield True
            return
        with self._locked(wait=False) as mine:
            yield mine

    def attend(self, now: float, *, in_flight: int, waiting: int, window: float) -> Share:
        """Say what this process does and get its share of `window`. Call it `exclusive`ly."""
        n = self.numbers
        if not self._place or n[self._place] != self._owner:
            self._place = self._free_place(now)
            n[self._place + 4] = 0.0
        for offset, value in enumerate((self._owner, now, in_flight, waiting)):
            n[self._place + offset] = value
        present = [
            at
            for at in range(_adaptive.SIZE, _SIZE, _PLACE_SIZE)
            if n[at] and (at == self._place or now - n[at + 1] < PRESENCE)
        ]
        demand = [n[at + 2] + n[at + 3] for at in present]
        mine = present.index(self._place)
        fair = _deal(window, demand, mine, turn=int(now))
        free = int(min(window, 1e9)) - sum(int(n[at + 4]) for at in present if at != self._place)
        granted = max(in_flight, min(fair, free))
        n[self._place + 4] = granted
        return Share(
            window=granted,
            part=_part(demand, mine),
            in_flight=int(sum(n[at + 2] for at in present)),
            waiting=int(sum(n[at + 3] for at in present)),
            alone=len(present) == 1,
        )

    def _free_place(self, now: float) -> int:
        for at in range(_adaptive.SIZE, _SIZE, _PLACE_SIZE):
            if not self.numbers[at] or now - self.numbers[at + 1] > 2 * PRESENCE:
                return at
        return _SIZE - _PLACE_SIZE  # more processes than places: the last place is shared

    def _leave(self) -> None:
        if self.numbers[self._place] == self._owner:
            self.numbers[self._place] = 0.0


def _part(demand: list[float], mine: int) -> float:
    total = sum(demand)
    return demand[mine] / total if total else 1.0


def _deal(window: float, demand: list[float], mine: int, *, turn: int) -> int:
    """The whole part of `window` that process number `mine` gets, proportional to its demand.

    What is left over by rounding goes round among those that want it, from `turn` on.
    """
    whole = int(min(window, 1e9))
    total = sum(demand)
    if total <= 0 or len(demand) == 1:
        return whole
    dealt = [math.floor(whole * one / total) for one in demand]
    left = whole - sum(dealt)
    for step in range(len(demand)):
        if not left:
            break
        index = (turn + step) % len(demand)
        if demand[index] > 0:
            dealt[index] += 1
            left -= 1
    return dealt[mine]
