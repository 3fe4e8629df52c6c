"""How often Python looks for cyclic garbage while tasks run.

Tasks in flight are young objects that stay alive. At CPython's 700 allocations a collection, a few
thousand of them are walked again every dozen tasks: up to a fifth of what a no-op task costs.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

ALLOCATIONS = 50_000
"""Objects made, less those freed, between two collections: some 10 MB of them at most."""


class _Rarely:
    """Owns the process's threshold while there is a run, and what it was before."""

    lock = threading.Lock()
    runs = 0
    before = (0, 0, 0)


@contextlib.contextmanager
def collected_rarely() -> Iterator[None]:
    """Collect young objects every `ALLOCATIONS`, unless the program chose more, or never."""
    with _Rarely.lock:
        _Rarely.runs += 1
        if _Rarely.runs == 1:
            _Rarely.before = first, *others = gc.get_threshold()
            if 0 < first < ALLOCATIONS:
                gc.set_threshold(ALLOCATIONS, *others)
    try:
        yield
    finally:
        with _Rarely.lock:
            _Rarely.runs -= 1
            if _Rarely.runs == 0 and gc.get_threshold()[0] == ALLOCATIONS:
                gc.set_threshold(*_Rarely.before)
