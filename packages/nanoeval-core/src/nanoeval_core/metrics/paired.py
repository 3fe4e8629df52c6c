"""Two runs on the same questions: what changed, and whether it is more than chance.

The runs' difference is looked at question by question. What makes a question hard for both
cancels, so the difference is known better than either accuracy.
"""

from __future__ import annotations

import dataclasses
import math
from array import array
from collections.abc import Hashable, Mapping, Sequence, Sized
from typing import Any, NamedTuple, SupportsFloat, cast

from nanoeval_core.errors import ConfigError
from nanoeval_core.metrics._student_t import NORMAL, regularized_incomplete_beta, t_sf
from nanoeval_core.metrics.cluster_variance import cluster_sizes, clusters_of, spread_of_mean
from nanoeval_core.metrics.clustered_mean import (
    MeanEstimate,
    clustered_mean,
    independent_outcomes,
    mean_of,
)
from nanoeval_core.metrics.intervals import effective_wilson_interval, t_interval

Scores = Mapping[Any, "Sequence[float] | float"]
"""A run: question id → the scores of its attempts (or the score, if there is one attempt)."""

_DISAGREEMENT_WEIGHT = 0.5
"""How many more questions the interval takes to differ, by as much as those that do.

When hardly any questions differ, the variance of the difference is known badly; when none do, not
at all, and then it is half a question that differs by 1. For scores in [0, 1], whose scale is
known. See the simulations of `docs/statistics.md`.
"""


_FEW_MIXED = 10
"""With fewer clusters that did not flip as a whole, the score interval counts too."""


class Change(NamedTuple):
    """A question on which two runs differ, and its mean score in each."""

    question_id: Any
    mean_a: float
    mean_b: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Run b against run a on the same questions. Differences are b - a: positive when b is better.

    Attributes:
        a: the mean score of run a.
        b: the mean score of run b.
        difference: the mean over questions of (question mean in b) - (question mean in a).
        stderr: its standard error, clustered as the runs' are; None with fewer than 2 clusters.
        low: lower end of its interval; None where the data support none.
        high: upper end.
        p_value: two-sided, of no difference, from the same statistic as the interval; with one
            right or wrong attempt each not less than `exact_p_value`. The interval excludes 0 only
            where it is below 1 - confidence.
        confidence: of the interval.
        n: questions.
        num_clusters: independent groups of questions; `n` without clusters.
        wins: questions on which b is better.
        losses: questions on which a is better.
        ties: questions on which neither is.
        exact_p_value: two-sided, of wins and losses being equally likely. With one right or wrong
            attempt each this is McNemar's exact test, else the sign test. It treats questions as
            independent.
        exact_test: `McNemar` or `sign`.
        improved: the questions b won, largest change first.
        worsened: the questions a won, largest change first.
        left_out: questions that only one run has; 0 unless they were left out on request.
        why: what is missing and why; empty when nothing is.
    """

    a: MeanEstimate
    b: MeanEstimate
    difference: float
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    confidence: float
    n: int
    num_clusters: int
    wins: int
    losses: int
    ties: int
    exact_p_value: float
    exact_test: str
    improved: tuple[Change, ...]
    worsened: tuple[Change, ...]
    left_out: int = 0
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values; what is None is left out."""
        entries = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        entries |= {
            "a": self.a.as_dict("mean"),
            "b": self.b.as_dict("mean"),
            "improved": [change._asdict() for change in self.improved],
            "worsened": [change._asdict() for change in self.worsened],
        }
        return {name: value for name, value in entries.items() if value is not None}


def compare(
    run_a: Scores,
    run_b: Scores,
    *,
    clusters: Mapping[Any, Hashable] | None = None,
    confidence: float = 0.95,
    common_only: bool = False,
) -> Comparison:
    """Compare two runs on the same questions.

    Args:
        run_a: the baseline: the scores of each question's attempts. Runs may differ in attempts.
        run_b: the candidate.
        clusters: each question's cluster; by default every question is its own.
        confidence: of the interval.
        common_only: compare on the questions both have instead of refusing when they differ.

    Raises:
        ConfigError: the runs have different questions, or none; the message names some.
        ValueError: a score is not finite, a question has none, or `clusters` lacks a question.
    """
    left_out = _check_questions(run_a, run_b, common_only=common_only)
    scores_a, scores_b = _scores_of(run_a, run_b), _scores_of(run_b, run_a)
    a = clustered_mean(scores_a, clusters=clusters, confidence=confidence)
    b = clustered_mean(scores_b, clusters=clusters, confidence=confidence)
    changes, differences = [], array("d")
    for question, left in scores_a.items():
        right = scores_b[question]
        if left == right:
            differences.append(0.0)
            continue
        mean_a, mean_b = mean_of(question, left), mean_of(question, right)
        differences.append(mean_b - mean_a)
        if mean_a != mean_b:
            changes.append(Change(question, mean_a, mean_b))
    distinct = {*scores_a.values(), *scores_b.values()}
    values = {score for one in distinct for score in one}
    single = a.num_scores == b.num_scores == a.n and values <= {0.0, 1.0}
    changes.sort(key=lambda change: -abs(change.mean_b - change.mean_a))
    improved = tuple(change for change in changes if change.mean_b > change.mean_a)
    worsened = tuple(change for change in changes if change.mean_b < change.mean_a)
    exact_p_value = sign_test(len(improved), len(worsened))
    return Comparison(
        a=a,
        b=b,
        **_difference(
            differences,
            clusters_of(scores_a, clusters),
            in_unit_interval=all(0.0 <= score <= 1.0 for score in values),
            least_p=exact_p_value if single and clusters is None else 0.0,
            confidence=confidence,
        ),
        wins=len(improved),
        losses=len(worsened),
        ties=a.n - len(changes),
        exact_p_value=exact_p_value,
        improved=improved,
        worsened=worsened,
        confidence=confidence,
        n=a.n,
        num_clusters=a.num_clusters,
        exact_test="McNemar" if single else "sign",
        left_out=left_out,
    )


def sign_test(wins: int, losses: int) -> float:
    """Return the exact two-sided p-value of wins and losses being equally likely; ties say nothing.

    On the discordant pairs of yes/no outcomes this is McNemar's exact test.
    """
    n, fewer = wins + losses, min(wins, losses)
    if n == 0 or wins == losses:
        return 1.0
    if n <= 1000:
        tail = sum(math.comb(n, i) for i in range(fewer + 1)) / (1 << n)
    else:  # P(X ≤ x) for X ~ Binomial(n, 1/2)
        tail = regularized_incomplete_beta(n - fewer, fewer + 1, 0.5)
    return min(1.0, 2.0 * tail)


def _difference(
    differences: Sequence[float],
    clusters: Sequence[Hashable] | None,
    *,
    in_unit_interval: bool,
    least_p: float,
    confidence: float,
) -> dict[str, Any]:
    """Return the difference with its error, interval and p-value, which is at least `least_p`."""
    n = len(differences)
    mean = math.fsum(differences) / n
    found: dict[str, Any] = {"difference": mean}
    sizes = cluster_sizes(differences, clusters)
    if sum(group.number for group in sizes) < 2:
        return {**found, "why": "a standard error needs at least 2 independent questions"}
    spread = spread_of_mean(sizes, n)
    found["stderr"] = math.sqrt(spread.variance)
    variance = spread.adjusted_variance
    if in_unit_interval:
        differing = sum(difference != 0 for difference in differences)
        typical = math.fsum(difference**2 for difference in differences) / (differing or 1)
        typical = typical if differing else 1.0
        variance += _DISAGREEMENT_WEIGHT * typical / n**2
    elif variance <= (1e-14 * mean) ** 2:
        return {**found, "why": "an interval needs differences that differ"}
    interval = t_interval(mean, math.sqrt(variance), df=spread.df, confidence=confidence)
    p_value = 2.0 * t_sf(abs(mean) / math.sqrt(variance), spread.df)
    low, high = interval.low, interval.high
    if in_unit_interval:
        scored = _score_interval(differences, clusters, confidence)
        if scored is not None:
            low, high = min(low, scored[0]), max(high, scored[1])
            p_value = max(p_value, scored[2])
        low, high = max(-1.0, low), min(1.0, high)  # no difference can be larger
    p_value = min(1.0, max(p_value, least_p))
    if p_value > 1.0 - confidence:
        low, high = min(low, 0.0), max(high, 0.0)
    return {**found, "low": low, "high": high, "p_value": p_value}


def _score_interval(
    differences: Sequence[float],
    clusters: Sequence[Hashable] | None,
    confidence: float,
) -> tuple[float, float, float] | None:
    """Return the score interval of nearly unanimous flips, and its p-value.

    None where clusters differ enough.

    Differences of scores in [0, 1], moved into [0, 1], are scores of a run in which nearly all is
    right (or wrong): few clusters show how they vary, and Wilson's interval at the number of
    outcomes they count for takes the place of one at the estimated variance.
    """
    moved = array("d", ((difference + 1.0) / 2.0 for difference in differences))
    sizes = cluster_sizes(moved, clusters)
    if sum(group.mixed for group in sizes) >= _FEW_MIXED:
        return None
    mean = math.fsum(moved) / len(moved)
    effective_n, df = independent_outcomes(mean, spread_of_mean(sizes, len(moved)), sizes)
    interval = effective_wilson_interval(mean, effective_n, df=df, confidence=confidence)
    deviation = abs(2.0 * mean - 1.0) * math.sqrt(effective_n)  # from ½, in its standard errors
    tail = NORMAL.cdf(-deviation) if math.isinf(df) else t_sf(deviation, df)
    return 2.0 * interval.low - 1.0, 2.0 * interval.high - 1.0, 2.0 * tail


def _check_questions(run_a: Scores, run_b: Scores, *, common_only: bool) -> int:
    """Return how many questions only one run has, when that is allowed."""
    if run_a.keys() == run_b.keys() and run_a:
        return 0
    only_a = [question for question in run_a if question not in run_b]
    only_b = [question for question in run_b if question not in run_a]
    if len(only_a) == len(run_a) or not run_b:
        raise ConfigError(
            f"the runs have no question in common (a has {len(run_a)}, b has {len(run_b)}): "
            "compare runs of the same eval"
        )
    if (only_a or only_b) and not common_only:
        sides = [
            f"{len(only)} only in run {name} ({', '.join(repr(q) for q in only[:3])}"
            + (", …)" if len(only) > 3 else ")")
            for name, only in (("a", only_a), ("b", only_b))
            if only
        ]
        raise ConfigError(
            f"the runs have different questions, so their difference could come from these: "
            f"{' and '.join(sides)}. Run both on the same questions, resume the one that is "
            "incomplete, or compare on what they share: common_only=True, --common-only"
        )
    return len(only_a) + len(only_b)


def _scores_of(run: Scores, other: Scores) -> Mapping[Any, tuple[float, ...]]:
    """Return the scores of the questions of both runs."""
    tuples = cast("Mapping[Any, tuple[float, ...]]", run)
    if (  # as a reader of records gives them: a million questions need not be copied
        run.keys() <= other.keys()
        and all(type(scores) is tuple for scores in tuples.values())
        and {type(score) for scores in tuples.values() for score in scores} <= {float}
    ):
        return tuples
    return {question: _scores(run, question) for question in run if question in other}


def _scores(run: Scores, question: Any) -> tuple[float, ...]:
    scores = run[question]
    several = scores if isinstance(scores, Sized) else [scores]
    if isinstance(several, str) or not all(isinstance(score, SupportsFloat) for score in several):
        raise TypeError(
            f"question {question!r} has the scores {scores!r}: give a number or numbers, or leave "
            "the question out"
        )
    return tuple(map(float, several))


__all__ = ["Change", "Comparison", "Scores", "compare", "sign_test"]
