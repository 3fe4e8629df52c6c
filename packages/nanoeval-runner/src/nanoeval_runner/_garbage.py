"""How often Python looks for cyclic garbage while tasks run.

Tasks in flight are young objects that stay alive. At CPython's 700 allocations a collection, a few
thousand of them are walked again every dozen tasks: up to a fifth of what a no-op task costs.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator


class _Threshold:
    """The threshold of the process: what the program chose, unless a run wants a larger one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # runs may go on in several threads
        self._wanted: list[int] = []
        self._chosen = self._set = gc.get_threshold()

    @contextlib.contextmanager
    def at_least(self, allocations: int) -> Iterator[None]:
        with self._lock:
            if not self._wanted:
                self._chosen = self._set = gc.get_threshold()
            self._wanted.append(allocations)
            self._apply()
        try:
            yield
        finally:
            with self._lock:
                self._wanted.remove(allocations)
                self._apply()

    def _apply(self) -> None:
        if gc.get_threshold() != self._set:
            return  # the program has chosen another meanwhile
        first, second, third = self._chosen
        largest = max(self._wanted, default=0)
        self._set = (largest, second, third) if 0 < first < largest else self._chosen
        gc.set_threshold(*self._set)


collected_rarely = _Threshold().at_least
"""Collect young objects in the block only every so many allocations, or at the program's choice."""
