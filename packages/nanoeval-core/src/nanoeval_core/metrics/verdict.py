"""A verdict on a comparison that a CI job can exit with."""

from __future__ import annotations

from typing import Literal, NamedTuple

from nanoeval_core.metrics.paired import Comparison


class RegressionCheck(NamedTuple):
    """Whether run b is worse than run a.

    Attributes:
        verdict: `worse` when the whole interval of b - a is below the margin, `not worse` when
            none of it is, `unclear` when it holds the margin, `unknown` without an interval.
        exit_code: 0 for a job that may go on, 1 for one that must not, 2 when nothing is known.
        reason: one line for people.
    """

    verdict: Literal["worse", "not worse", "unclear", "unknown"]
    exit_code: int
    reason: str


def fail_if_worse(
    comparison: Comparison, *, margin: float = 0.0, when_unclear: Literal["pass", "fail"] = "pass"
) -> RegressionCheck:
    """Decide by the interval of `comparison`, not by its point.

    Args:
        comparison: of a baseline a with a candidate b.
        margin: how much worse b may be, in the unit of the scores: 0.01 is a point of accuracy.
        when_unclear: what to do when the data do not tell. `pass` fails a job only on evidence
            that b is worse; `fail` lets one pass only on evidence that it is not (a
            non-inferiority test, which needs a margin to be passed by equal runs).

    Raises:
        ValueError: `margin` is negative.
    """
    if not margin >= 0:
        raise ValueError(f"margin={margin!r}: give how much worse b may be, at least 0")
    if comparison.low is None or comparison.high is None:
        return RegressionCheck("unknown", 2, f"no interval: {comparison.why}")
    told = (
        f"difference {comparison.difference:+.4f}, {100 * comparison.confidence:g} % interval "
        f"[{comparison.low:+.4f}, {comparison.high:+.4f}], margin {margin:g}, "
        f"{comparison.n} questions"
    )
    if comparison.high < -margin:
        return RegressionCheck("worse", 1, f"worse: {told}")
    if comparison.low >= -margin:
        return RegressionCheck("not worse", 0, f"not worse: {told}")
    return RegressionCheck("unclear", int(when_unclear == "fail"), f"unclear: {told}")


__all__ = ["RegressionCheck", "fail_if_worse"]
