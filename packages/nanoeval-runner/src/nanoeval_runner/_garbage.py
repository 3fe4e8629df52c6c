"""How often Python looks for cyclic garbage while tasks run.

Tasks in flight are young objects that stay alive. At CPython's 700 allocations a collection, a few
thousand of them are walked again every dozen tasks: up to a fifth of what a no-op task costs.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator


class _Thresholds:
    """Owns the process's threshold while runs ask for one, and what it was before."""

    lock = threading.Lock()
    wanted: list[int] = []  # noqa: RUF012  guarded by the lock
    before = (0, 0, 0)
    ours = 0


@contextlib.contextmanager
def collected_rarely(threshold: int) -> Iterator[None]:
    """Collect young objects every `threshold` allocations, unless the program chose more."""
    with _Thresholds.lock:
        if not _Thresholds.wanted:
            _Thresholds.before = gc.get_threshold()
        _Thresholds.wanted.append(threshold)
        _apply()
    try:
        yield
    finally:
        with _Thresholds.lock:
            _Thresholds.wanted.remove(threshold)
            _apply()


def _apply() -> None:
    first, *others = _Thresholds.before
    if _Thresholds.ours and gc.get_threshold()[0] != _Thresholds.ours:
        return  # the program has chosen another meanwhile
    ours = max(_Thresholds.wanted, default=0)
    if ours and 0 < first < ours:
        gc.set_threshold(ours, *others)
        _Thresholds.ours = ours
    elif _Thresholds.ours:
        gc.set_threshold(*_Thresholds.before)
        _Thresholds.ours = 0
