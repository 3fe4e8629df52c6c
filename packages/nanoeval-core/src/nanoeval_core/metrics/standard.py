"""Default metrics of a table of attempts, or of an eval's results.

Tables are pandas or polars DataFrames, mappings of columns, or lists of rows; neither pandas nor
polars is needed. Columns of `samples_df`, one row per attempt:

- `instance`: the question's id, a text without `:`;
- `attempt`: the attempt's id; rows with the same one are attempts of their own;
- `answer_group_id`: what the reply answered, equal for equivalent answers; missing (None, NaN)
  for a reply that names no answer, which is incorrect and counts as unparsable;
- `is_correct` instead of it, where there are no answer groups: a bool, 0 or 1;
- `outcome` (optional): one of `nanoeval.metrics.outcomes.Outcome`, to count refusals and
  others; missing where `is_correct` says it all;
- `cluster` (optional): questions with the same cluster are not independent (they share a
  passage, a repository, …);
- `system_error` (optional): set where the attempt ended in a system error, so that it has no score;
  these functions refuse such rows.

Any other columns can be broken down by: `by=["subject"]` adds `by`, with nanoeval's own metrics for
each value of that column: `metrics["by"]["subject"]["physics"]["accuracy"]`.

Columns of `answer_group_correctness_df`: `instance`, `answer_group_id`, `is_correct`; one row for
each answer group that occurs in `samples_df`, more do no harm.

The metrics are those of `LibraryConfig.compute_default_metrics`, which a team may replace; it then
gets pandas DataFrames where the caller gave none of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nanoeval_core.errors import ConfigError
from nanoeval_core.library_config import LibraryConfig, get_library_config
from nanoeval_core.metrics import _tables
from nanoeval_core.metrics.breakdown import with_breakdown
from nanoeval_core.metrics.outcomes import (
    Outcome,
    handle_system_errors_and_compute_metrics,
    outcome_of,
)
from nanoeval_core.metrics.running_summary import RunningAccuracy
from nanoeval_core.metrics.samples import Sample, summarize_samples
from nanoeval_core.task import Task, TResult, TTask


def compute_default_metrics(
    samples_df: Any, answer_group_correctness_df: Any, *, by: Sequence[str] = ()
) -> dict[str, Any]:
    """Return accuracy, pass@k, pass^k and cons@k of attempts whose answers fall into groups.

    Args:
        samples_df: columns `instance`, `attempt`, `answer_group_id`; see the module.
        answer_group_correctness_df: columns `instance`, `answer_group_id`, `is_correct`.
        by: columns of `samples_df` to break the metrics down by.

    Returns:
        What `nanoeval.metrics.samples.summarize_samples` returns; without any rows its
        `accuracy` is NaN.

    Raises:
        ValueError: a column or an answer group's correctness is missing or contradictory.
        SystemErrorsNotSupported: a row holds a system error.
    """
    own = _tables.metrics_of_tables(samples_df, answer_group_correctness_df, by=by)
    if not _team_has_its_own():
        return own
    metrics = get_library_config().compute_default_metrics(samples_df, answer_group_correctness_df)
    return {**metrics, "by": own["by"]} if by else metrics


def compute_default_metrics_on_correctness_without_answer_groups(
    correctness_df: Any, *, by: Sequence[str] = ()
) -> dict[str, Any]:
    """Return accuracy, pass@k and pass^k of attempts known only to be correct or not.

    Args:
        correctness_df: columns `instance`, `attempt`, `is_correct`; see the module. Not changed.
        by: columns of `correctness_df` to break the metrics down by.

    Returns:
        What `nanoeval.metrics.samples.summarize_samples` returns, without cons@k; nothing
        without any rows.

    Raises:
        ValueError: a column is missing, or `is_correct` is neither true nor false.
        SystemErrorsNotSupported: a row holds a system error.
    """
    attempts = _tables.read_attempts(correctness_df, by)
    if not attempts:
        return {}
    own = _tables.metrics_of(attempts, by)
    if not _team_has_its_own():
        return own
    metrics = default_metrics([sample for _, sample in attempts])
    return {**metrics, "by": own["by"]} if by else metrics


def default_metrics(samples: Sequence[Sample], *, answer_groups: bool = False) -> dict[str, Any]:
    """Return the default metrics of attempts at hand: a team's own, or `summarize_samples`.

    Args:
        samples: in any order.
        answer_groups: whether `answer_group` is filled in. A team's metrics get the groups 0
            (incorrect) and 1 (correct) otherwise.

    Raises:
        ConfigError: a team has its own metrics, which take DataFrames, and pandas is missing.
    """
    if not _team_has_its_own():
        return summarize_samples(samples, answer_groups=answer_groups)
    try:
        import pandas  # noqa: PLC0415  for a team's own metrics only
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{type(get_library_config()).__name__}.compute_default_metrics takes pandas "
            "DataFrames, and pandas is not installed: `pip install pandas`"
        ) from error
    rows = []
    correct: dict[tuple[Any, Any], bool] = {}
    for sample in samples:
        group = sample.answer_group if answer_groups else None
        group = int(sample.is_correct) if group is None else group
        rows.append((sample.instance, sample.attempt, group))
        correct[sample.instance, group] = sample.is_correct
    return get_library_config().compute_default_metrics(
        pandas.DataFrame(rows, columns=["instance", "attempt", "answer_group_id"]),
        pandas.DataFrame(
            [(*answer, is_correct) for answer, is_correct in correct.items()],
            columns=["instance", "answer_group_id", "is_correct"],
        ),
    )


def summarize_results(
    results: Sequence[tuple[TTask, TResult]],
    *,
    score: Callable[[TTask, TResult], float] | None = None,
    by: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the default metrics of an eval's results: what its `get_summary` can return as it is.

        async def get_summary(self, results: list[tuple[Sum, bool]]) -> dict[str, Any]:
            return summarize_results(results, by=["subject"])

    Args:
        results: `(task, result)` pairs; several attempts at a question make pass@k and pass^k.
        score: what a result scores, from 0 to 1, say. By default results tell whether they are
            right: bools, or objects with an `outcome`, `is_correct` or `correct`.
        by: fields of the tasks (or paths, `question.subject`) to break the metrics down by.

    Raises:
        ValueError: a result does not tell whether it is right, and there is no `score`.
    """

    def summarize(pairs: Sequence[tuple[TTask, TResult]]) -> dict[str, Any]:
        if score is None:
            return default_metrics([_sample_of(task, result) for task, result in pairs])
        return RunningAccuracy(score).catch_up(pairs).totals.metrics()

    return with_breakdown(results, by, summarize)


def _sample_of(task: Task, result: object) -> Sample:
    outcome = outcome_of(result)
    if outcome is None:
        raise ValueError(
            f"the result of task {task.name!r}, {result!r:.100}, does not tell whether it is "
            "right: return a bool or something with `correct` from evaluate, or give score=…"
        )
    return Sample(
        instance=task.question_id,
        attempt=task.attempt_id,
        is_correct=outcome is Outcome.CORRECT,
        outcome=outcome,
    )


def _team_has_its_own() -> bool:
    own = type(get_library_config()).compute_default_metrics
    return own is not LibraryConfig.compute_default_metrics


__all__ = [
    "compute_default_metrics",
    "compute_default_metrics_on_correctness_without_answer_groups",
    "default_metrics",
    "handle_system_errors_and_compute_metrics",
    "summarize_results",
]
