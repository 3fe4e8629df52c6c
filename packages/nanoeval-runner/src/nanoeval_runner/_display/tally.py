"""One eval's running score, kept up to date from its results at a cost per result."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.eval import Eval, RunningSummary

log = logging.getLogger("nanoeval.runner")

MOST_KINDS = 200
MOST_WORDS = 300
AT_A_TIME = 20_000
"""Results looked at in one go, so that catching up never holds up the event loop for long."""


class Tally:
    """Score and errors of the results so far.

    The score is what `Eval.running_summary` says; without one it is made of the results that are
    bools, or have a bool or a number named `correct`, `is_correct` or `score`.
    """

    def __init__(self, eval: Eval[Any, Any]) -> None:
        self.running: RunningSummary | None = eval.running_summary()
        self.errors: Counter[str] = Counter()
        self._scores: Any = None
        self._seen = 0
        self._failed = False

    def catch_up(self, results: Sequence[tuple[Any, Any]], *, all_of_them: bool = False) -> None:
        """Add those of `results` that are new: all results so far, each call's going on."""
        stop = len(results) if all_of_them else min(len(results), self._seen + AT_A_TIME)
        for task, result in results[self._seen : stop]:
            if isinstance(result, RolloutSystemError):
                self.errors[error_words(result, self.errors)] += 1
            if not self._failed:
                self._add(task, result)
        self._seen = stop

    def count_errors(self, results: Sequence[tuple[Any, Any]]) -> None:
        """Add the errors among those of `results` that are new; the score is left as it is."""
        for _, result in results[self._seen :]:
            if isinstance(result, RolloutSystemError):
                self.errors[error_words(result, self.errors)] += 1
        self._seen = len(results)

    def _add(self, task: Any, result: Any) -> None:
        try:
            if self.running is not None:
                self.running.add(task, result)
            elif not isinstance(result, RolloutSystemError):
                score = score_of(result)
                if score is not None:
                    self._accumulator().add(task.question_id, score)
        except Exception:
            self._failed = True
            log.exception("the running score stops here: task %r could not be added", task.name)

    def _accumulator(self) -> Any:
        if self._scores is None:
            # Deferred: metrics are loaded once there is something to count.
            from nanoeval_core.metrics.accumulator import (  # noqa: PLC0415
                Accumulator,
            )

            self._scores = Accumulator()
        return self._scores

    def summary(self) -> dict[str, Any] | None:
        """Return what is known of the score: `accuracy`, `accuracy_stderr`; None if nothing is."""
        if self._failed:
            return None
        try:
            if self.running is not None:
                return self.running.summary() if self._seen else None
            if self._scores is None:
                return None
            estimate = self._scores.estimate()
        except Exception:
            self._failed = True
            log.exception("the running score stops here: it could not be summed up")
            return None
        return {"accuracy": estimate.mean, "accuracy_stderr": estimate.stderr}

    def beside(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Return what belongs to a summary's accuracy where that is the mean of these scores."""
        if self._scores is None or self._failed:
            return {}
        estimate = self._scores.estimate()
        if estimate.stderr is None or not _is_close(summary.get("accuracy"), estimate.mean):
            return {}
        return {
            "accuracy_stderr": estimate.stderr,
            "accuracy_ci95": [estimate.low, estimate.high],
            "accuracy_n": estimate.n,
        }


def error_words(error: BaseException, known: Mapping[str, int]) -> str:
    """Return an error in its own words, in a line; its type alone once there are many kinds."""
    kind, text = type(error).__name__, " ".join(str(error).split())
    words = f"{kind}: {text[:MOST_WORDS]}" if text else kind
    return words if words in known or len(known) < MOST_KINDS else kind


def _is_close(value: Any, mean: float) -> bool:
    return isinstance(value, (int, float)) and math.isclose(
        value, mean, rel_tol=1e-9, abs_tol=1e-12
    )


def score_of(result: Any) -> float | None:
    """Return what a result scores, if it is one of the kinds that say so by themselves."""
    if isinstance(result, bool):
        return float(result)
    for name in ("is_correct", "correct", "score"):
        value = result.get(name) if isinstance(result, dict) else getattr(result, name, None)
        if isinstance(value, (bool, int, float)) and value == value:  # no NaN
            return float(value)
    return None
