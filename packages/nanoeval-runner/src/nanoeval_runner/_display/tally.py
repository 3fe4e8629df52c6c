"""One eval's running score, kept up to date from its results at a cost per result."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.eval import Eval, RunningSummary

log = logging.getLogger("nanoeval.runner")

AT_A_TIME = 20_000
"""Results looked at in one go, so that catching up never holds up the event loop for long."""


class Tally:
    """The score of the results so far.

    It is what `Eval.running_summary` says; without one it is made of the results that are bools,
    or have a bool or a number named `correct`, `is_correct` or `score`.
    """

    def __init__(self, eval: Eval[Any, Any]) -> None:
        self.running: RunningSummary | None = eval.running_summary()
        self._scores: Any = None
        self._seen = 0
        self._failed = False

    def catch_up(self, results: Sequence[tuple[Any, Any]], *, all_of_them: bool = False) -> None:
        """Add those of `results` that are new: all results so far, each call's going on."""
        stop = len(results) if all_of_them else min(len(results), self._seen + AT_A_TIME)
        for task, result in results[self._seen : stop]:
            if not self._failed:
                self._add(task, result)
        self._seen = stop

    def _add(self, task: Any, result: Any) -> None:
        try:
            if self.running is not None:
                self.running.add(task, result)
                return
            score = None if isinstance(result, RolloutSystemError) else score_of(result)
            if score is not None:
                if self._scores is None:
                    # Deferred: metrics are loaded once there is something to count.
                    from nanoeval_core.metrics.accumulator import Accumulator  # noqa: PLC0415

                    self._scores = Accumulator()
                self._scores.add(task.question_id, score)
        except Exception:
            self._failed = True
            log.exception("the running score stops here: task %r could not be added", task.name)

    def summary(self) -> dict[str, Any] | None:
        """Return what is known of the score: `accuracy`, `accuracy_stderr`; None if nothing is."""
        if self._failed:
            return None
        try:
            if self._scores is not None:
                estimate = self._scores.estimate()
                return {"accuracy": estimate.mean, "accuracy_stderr": estimate.stderr}
            return self.running.summary() if self.running is not None and self._seen else None
        except Exception:
            self._failed = True
            log.exception("the running score stops here: it could not be summed up")
            return None

    def with_interval(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Return `summary` with what belongs next to its accuracy, where that is their mean."""
        if self._scores is None or self._failed:
            return summary
        estimate = self._scores.estimate()
        value = summary["accuracy"]
        is_mean = isinstance(value, (int, float)) and math.isclose(
            value, estimate.mean, rel_tol=1e-9, abs_tol=1e-12
        )
        if estimate.stderr is None or not is_mean:
            return summary
        more = {
            "accuracy_stderr": estimate.stderr,
            "accuracy_ci95": [estimate.low, estimate.high],
            "accuracy_n": estimate.n,
        }
        found: dict[str, Any] = {}
        for name, value in summary.items():
            found[name] = value
            if name == "accuracy":
                found |= {k: v for k, v in more.items() if k not in summary}
        return found


def score_of(result: Any) -> float | None:
    """Return what a result scores, if it is one of the kinds that say so by themselves."""
    if isinstance(result, bool):
        return float(result)
    for name in ("is_correct", "correct", "score"):
        value = result.get(name) if isinstance(result, dict) else getattr(result, name, None)
        if isinstance(value, (bool, int, float)) and value == value:  # no NaN
            return float(value)
    return None
