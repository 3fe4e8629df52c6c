"""Several runs on the same questions, compared without counting chance finds as findings."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from nanoeval_core.errors import ConfigError
from nanoeval_core.metrics.clustered_mean import MeanEstimate
from nanoeval_core.metrics.paired import Comparison, Scores, compare


class Row(NamedTuple):
    """A pair of runs.

    Attributes:
        comparison: b against a, by itself.
        adjusted_p_value: its p-value corrected for the number of pairs (Holm); None where it has
            none.
    """

    a: str
    b: str
    comparison: Comparison
    adjusted_p_value: float | None


class RunTable(NamedTuple):
    """Several runs and their comparisons.

    Attributes:
        runs: each run's mean, best first.
        rows: the pairs, in the order of `runs`; with a baseline, the baseline against each other.
    """

    runs: dict[str, MeanEstimate]
    rows: list[Row]

    def as_rows(self) -> list[dict[str, Any]]:
        """Return the pairs as flat dicts of JSON values, for a table of any kind."""
        same = ("difference", "stderr", "low", "high", "wins", "losses", "ties", "p_value")
        return [
            {
                "a": row.a,
                "b": row.b,
                "mean_a": row.comparison.a.mean,
                "mean_b": row.comparison.b.mean,
                **{name: getattr(row.comparison, name) for name in same},
                "p_value_holm": row.adjusted_p_value,
                "n": row.comparison.n,
            }
            for row in self.rows
        ]


def compare_many(
    runs: Mapping[str, Scores],
    *,
    baseline: str | None = None,
    clusters: Mapping[Any, Hashable] | None = None,
    confidence: float = 0.95,
) -> RunTable:
    """Compare every pair of `runs`, or each with `baseline`.

    Args:
        runs: name → scores, as `compare` takes them; at least 2, all on the same questions.
        baseline: compare the others with this run only: fewer pairs, so less correction.
        clusters: each question's cluster.
        confidence: of each pair's own interval, which is not corrected.

    Raises:
        ConfigError: fewer than 2 runs, an unknown baseline, or runs with different questions.
    """
    if len(runs) < 2:
        raise ConfigError(f"{len(runs)} run(s) to compare: give at least 2")
    if baseline is not None and baseline not in runs:
        raise ConfigError(f"baseline={baseline!r} is not one of the runs {sorted(runs)}")
    pairs = (
        list(combinations(runs, 2))
        if baseline is None
        else [(baseline, name) for name in runs if name != baseline]
    )
    found: dict[tuple[str, str], Comparison] = {}
    for a, b in pairs:
        try:
            found[a, b] = compare(runs[a], runs[b], clusters=clusters, confidence=confidence)
        except ConfigError as error:
            raise ConfigError(f"run a is {a!r} and run b is {b!r}: {error}") from error
    means: dict[str, MeanEstimate] = {}
    for (a, b), comparison in found.items():
        means |= {a: comparison.a, b: comparison.b}
    ranked = sorted(means, key=lambda name: -(means[name].mean or 0.0))
    adjusted = adjust_p_values([comparison.p_value for comparison in found.values()])
    rows = [
        Row(a, b, comparison, p_value)
        for ((a, b), comparison), p_value in zip(found.items(), adjusted, strict=True)
    ]
    rows.sort(key=lambda row: (ranked.index(row.a), ranked.index(row.b)))
    return RunTable({name: means[name] for name in ranked}, rows)


def adjust_p_values(p_values: Sequence[float | None]) -> list[float | None]:
    """Return `p_values` corrected for being several (Holm 1979). None is no test and stays None.

    It bounds the chance that any of the findings is false.
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, index) in enumerate(known):
        running = max(running, min(1.0, (len(known) - rank) * p))
        adjusted[index] = running
    return adjusted


__all__ = ["Row", "RunTable", "adjust_p_values", "compare_many"]
