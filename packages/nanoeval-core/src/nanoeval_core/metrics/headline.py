"""The one number of a summary that a table shows, and how sure it is."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Headline", "headline", "score_names"]

_PREFERRED = ("accuracy", "score", "mean", "mean_score", "reward", "pass@1", "pass_at_1")
_AT_K = re.compile(r"(pass@|pass\^|cons@)(\d+)")
_NOT_SCORES = frozenset({"n", "num_tasks", "num_attempts", "num_unparsable", "is_valid"})


class Headline(NamedTuple):
    """A metric with its standard error and 95 % interval; None where the summary has nothing."""

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
    for found in [*_PREFERRED, *summary] if name is None else [name]:
        told = summary.get(found)
        value = _number(told)
        is_meant = found == name or found in _PREFERRED or _looks_like_a_score(found, told)
        if value is not None and is_meant:
            interval = summary.get(f"{found}_ci95")
            is_pair = isinstance(interval, (list, tuple)) and len(interval) == 2
            low, high = map(_number, interval) if interval is not None and is_pair else (None, None)
            return Headline(found, value, _number(summary.get(f"{found}_stderr")), low, high)
    return None


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

    `pass@k`, `pass^k` and `cons@k` are named for the largest k; counts and what details a
    metric (`_stderr`, `_ci95`, `_n`) are not.
    """
    first = headline(summary)
    if first is None:
        return []
    names = [first.name]
    largest: dict[str, int] = {}
    for key, value in summary.items():
        if named := _AT_K.fullmatch(key):
            largest[named[1]] = max(largest.get(named[1], 2), int(named[2]))
        elif key not in names and _looks_like_a_score(key, value):
            names.append(key)
    at_k = [f"{kind}{k}" for kind, k in largest.items() if f"{kind}{k}" in summary]
    return [names[0], *at_k, *names[1:]]
