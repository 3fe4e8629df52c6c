"""The one number of a summary that a table shows, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = [
    "PREFERRED",
    "Headline",
    "headline",
    "score_names",
]

PREFERRED = ("accuracy", "score", "mean", "mean_score", "reward", "pass@1", "pass_at_1")
_NOT_SCORES = frozenset({"n", "num_tasks", "num_attempts", "num_unparsable", "is_valid"})


class Headline(NamedTuple):
    """A metric with its error and interval; None where the summary has nothing.

    Attributes:
        name: the metric.
        value: what it is.
        stderr: its standard error.
        low: lower end of its 95 % interval.
        high: upper end of it.
    """

    name: str
    value: float
    stderr: float | None = None
    low: float | None = None
    high: float | None = None


def headline(summary: Mapping[str, Any], name: str | None = None) -> Headline | None:
    """Return the metric called `name`, or the one that says most: accuracy, score, first number.

    Returns:
        None when the summary has no such number, or none at all.
    """
    found, value = name, None
    for found in PREFERRED if name is None else (name,):
        if (value := _number(summary.get(found))) is not None:
            break
    if value is None and name is None:
        for found, candidate in summary.items():
            if _looks_like_a_score(found, candidate) and (value := _number(candidate)) is not None:
                break
    if found is None or value is None:
        return None
    interval = summary.get(f"{found}_ci95")
    low = high = None
    if isinstance(interval, (list, tuple)) and len(interval) == 2:
        low, high = _number(interval[0]), _number(interval[1])
    return Headline(found, value, _number(summary.get(f"{found}_stderr")), low, high)


def _looks_like_a_score(key: str, value: Any) -> bool:
    is_detail = key.endswith(("_stderr", "_ci95", "_n", "_std"))
    is_score = isinstance(value, float) and math.isfinite(value)
    return is_score and not is_detail and key not in _NOT_SCORES


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of more than 308 digits
        return None
    return number if math.isfinite(number) else None


def score_names(summary: Mapping[str, Any]) -> list[str]:
    """Return the names of a summary's metrics, the headline first, none that repeats another.

    `pass@k`, `pass^k` and `cons@k` are named for the largest k; counts and what is_detail a
    metric (`_stderr`, `_ci95`, `_n`) are not.
    """
    first = headline(summary)
    if first is None:
        return []
    names = [first.name]
    largest: dict[str, int] = {}
    for key, value in summary.items():
        kind, k = _at_k(key)
        if kind:
            largest[kind] = max(largest.get(kind, 2), k)
        elif key not in names and _looks_like_a_score(key, value):
            names.append(key)
    at_k = [f"{kind}{k}" for kind, k in largest.items() if f"{kind}{k}" in summary]
    return [names[0], *at_k, *names[1:]]


def _at_k(key: str) -> tuple[str, int]:
    """Return `("pass@", 3)` of `pass@3`; an empty text and 0 of what is no such metric."""
    for kind in ("pass@", "pass^", "cons@"):
        if key.startswith(kind):
            k = key.removeprefix(kind)
            return (kind, int(k)) if k.isdigit() else (kind, 0)
    return "", 0
