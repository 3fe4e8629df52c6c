"""Two or more runs on the same questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nanoeval_core.errors import ConfigError
from nanoeval_core.json_values import json_value
from nanoeval_core.metrics.many_runs import adjust_p_values
from nanoeval_core.metrics.paired import Comparison, compare

from nanoeval_monitor import _index_sql as sql
from nanoeval_monitor._record_index import RecordIndex

MAX_RUNS = 8
FLIPS = 300
"""Flipped questions, in each direction, that a page shows."""


def compare_runs(indices: Mapping[str, RecordIndex]) -> dict[str, Any]:
    """Compare the first run, as the baseline, with each of the others, on questions both have.

    Raises:
        ConfigError: fewer than 2 or more than `MAX_RUNS` runs, or no questions in common.
    """
    if not 2 <= len(indices) <= MAX_RUNS:
        raise ConfigError(f"{len(indices)} run(s) to compare: give 2 to {MAX_RUNS}")
    scores = {key: _scores(index) for key, index in indices.items()}
    baseline, *others = indices
    found = {key: compare(scores[baseline], scores[key], common_only=True) for key in others}
    adjusted = adjust_p_values([one.p_value for one in found.values()])
    return {
        "baseline": baseline,
        "runs": [
            {"key": key, "n": len(scores[key]), "spec": json_value(index.started())}
            for key, index in indices.items()
        ],
        "pairs": [
            {"key": key, "adjusted_p_value": p_value, **_as_dict(found[key])}
            for key, p_value in zip(found, adjusted, strict=True)
        ],
    }


_RIGHT, _WRONG = (1.0,), (0.0,)  # shared: a million questions take their space once


def _scores(index: RecordIndex) -> dict[str, tuple[float, ...]]:
    scores: dict[str, tuple[float, ...]] = {}
    with index.reading() as connection:
        for sample_id, score in connection.execute(sql.SCORES):
            only = _RIGHT if score == 1 else _WRONG if score == 0 else (score,)
            scores[sample_id] = scores.get(sample_id, ()) + only  # () costs no copy
    return scores


def _as_dict(comparison: Comparison) -> Any:
    entries = comparison.as_dict()
    for side, one in (("a", comparison.a), ("b", comparison.b)):
        entries[side] = {"mean": one.mean, "low": one.low, "high": one.high, "n": one.n}
    for name in ("improved", "worsened"):
        entries[name] = entries[name][:FLIPS]
    return json_value(entries)
