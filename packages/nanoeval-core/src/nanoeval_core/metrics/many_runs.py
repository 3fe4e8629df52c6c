"""Several runs on the same questions, compared without counting chance finds as findings."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, NamedTuple

from nanoeval_core.errors import ConfigError
from nanoeval_core.metrics.clustered_mean import MeanEstimate
from nanoeval_core.metrics.paired import Comparison, Scores, compare

Correction = Literal["holm", "bonferroni", "benjamini-hochberg"]


class Row(NamedTuple):
    """A pair of runs.

    Attributes:
        a: the name of run a.
        b: the name of run b.
        comparison: b against a, by itself.
        adjusted_p_value: its p-value corrected for the number of pairs; None where it has none.
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
        correction: how p-values were adjusted.
    """

    runs: dict[str, MeanEstimate]
    rows: list[Row]
    correction: Correction

    def as_rows(self) -> list[dict[str, Any]]:
        """The pairs as flat dicts of JSON values, for a table of any kind."""
        return [
            {
                "a": row.a,
                "b": row.b,
                "mean_a": row.comparison.a.mean,
                "mean_b": row.comparison.b.mean,
                "difference": row.comparison.difference,
                "stderr": row.comparison.stderr,
                "low": row.comparison.low,
                "high": row.comparison.high,
                "wins": row.comparison.wins,
                "losses": row.comparison.losses,
                "ties": row.comparison.ties,
                "p_value": row.comparison.p_value,
                f"p_value_{self.correction}": row.adjusted_p_value,
                "n": row.comparison.n,
            }
            for row in self.rows
        ]


def compare_many(
    runs: Mapping[str, Scores],
    *,
    baseline: str | None = None,
    correction: Correction = "holm",
    clusters: Mapping[Any, Hashable] | None = None,
    confidence: float = 0.95,
) -> RunTable:
    """Compare every pair of `runs`, or each with `baseline`.

    Args:
        runs: name → scores, as `compare` takes them; at least 2, all on the same questions.
        baseline: compare the others with this run only: fewer pairs, so less correction.
        correction: of the p-values for the number of pairs. `holm` and `bonferroni` bound the
            chance of any false finding, `benjamini-hochberg` the share of false ones.
        clusters: each question's cluster.
        confidence: of each pair's own interval, which is not corrected.

    Raises:
        ConfigError: fewer than 2 runs, an unknown baseline, or runs with different questions.
    """
    if len(runs) < 2:
        raise ConfigError(f"{len(runs)} run(s) to compare: give at least 2")
    if baseline is not None and baseline not in runs:
        raise ConfigError(f"baseline={baseline!r} is none of the runs {sorted(runs)}")
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
    place = {name: index for index, name in enumerate(ranked)}
    p_values = [comparison.p_value for comparison in found.values()]
    rows = [
        Row(a, b, comparison, adjusted)
        for ((a, b), comparison), adjusted in zip(
            found.items(), adjust_p_values(p_values, correction), strict=True
        )
    ]
    rows.sort(key=lambda row: (place[row.a], place[row.b]))
    return RunTable({name: means[name] for name in ranked}, rows, correction)


def adjust_p_values(
    p_values: Sequence[float | None], correction: Correction = "holm"
) -> list[float | None]:
    """`p_values` corrected for being several. None is no test and stays None.

    Holm 1979, Bonferroni, or Benjamini & Hochberg 1995.
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    m = len(known)
    adjusted: list[float | None] = [None] * len(p_values)
    if correction == "bonferroni":
        for p, index in known:
            adjusted[index] = min(1.0, m * p)
        return adjusted
    if correction == "holm":
        running = 0.0
        for rank, (p, index) in enumerate(known):
            running = max(running, min(1.0, (m - rank) * p))
            adjusted[index] = running
        return adjusted
    if correction == "benjamini-hochberg":
        running = 1.0
        for rank, (p, index) in reversed(list(enumerate(known, start=1))):
            running = min(running, m * p / rank)
            adjusted[index] = running
        return adjusted
    raise ConfigError(
        f"correction={correction!r}: give 'holm', 'bonferroni' or 'benjamini-hochberg'"
    )
