"""The default metrics of a table of attempts: reads tables, checks them, sums them up.

`nanoeval.metrics.standard` says what the tables hold.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from nanoeval_core.errors import ConfigError, SystemErrorsNotSupported
from nanoeval_core.metrics._frames import read_columns
from nanoeval_core.metrics.breakdown import with_breakdown
from nanoeval_core.metrics.outcomes import Outcome
from nanoeval_core.metrics.samples import Sample, summarize_samples

TableRow = Mapping[str, Any]
Correctness = Mapping[tuple[Hashable, Hashable], bool]
Attempts = Sequence[tuple[TableRow, Sample]]


def metrics_of_tables(
    samples_df: Any, answer_group_correctness_df: Any, *, by: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what `nanoeval.metrics.standard.compute_default_metrics` does, a team's own apart."""
    rows = _read_rows(samples_df, "answer_group_id", by)
    correctness = _read_correctness(answer_group_correctness_df)
    return metrics_of([(row, _sample(row, correctness)) for row in rows], by, answer_groups=True)


def read_attempts(correctness_df: Any, by: Sequence[str] = ()) -> Attempts:
    """Return the rows of a table with `is_correct`, and what attempts they are."""
    return [(row, _sample(row, None)) for row in _read_rows(correctness_df, "is_correct", by)]


def metrics_of(
    attempts: Attempts, by: Sequence[str] = (), *, answer_groups: bool = False
) -> dict[str, Any]:
    """Return nanoeval's own default metrics, also by the columns `by`."""

    def summarize(some: Attempts) -> dict[str, Any]:
        seen: Counter[tuple[Hashable, Hashable]] = Counter()
        samples = []
        for _, sample in some:
            seen[sample.instance, sample.attempt] += 1
            number = seen[sample.instance, sample.attempt]
            if number > 1:  # rows that name the same attempt are attempts of their own
                sample = dataclasses.replace(sample, attempt=(sample.attempt, number))  # noqa: PLW2901
            samples.append(sample)
        metrics = summarize_samples(samples, answer_groups=answer_groups)
        return metrics if samples else {"accuracy": math.nan, **metrics}

    return with_breakdown(attempts, by, summarize)


def _read_rows(samples_df: Any, answer: str, by: Sequence[str]) -> Sequence[TableRow]:
    if isinstance(by, str):
        raise TypeError(f"by={by!r}: give a list of columns, [{by!r}]")
    optional = ("outcome", "cluster", "system_error")
    required = tuple(dict.fromkeys(("instance", "attempt", answer, *by)))
    columns = read_columns(samples_df, name="samples_df", required=required, optional=optional)
    for instance in columns["instance"]:
        if isinstance(instance, str) and ":" in instance:
            raise ConfigError(
                f"samples_df: instance {instance!r} contains ':', which code that reads these "
                "metrics takes for a separator: use another character, such as '-'"
            )
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    failed = [row for row in rows if row["system_error"]]
    if failed:
        raise SystemErrorsNotSupported(
            f"{len(failed)} of {len(rows)} rows of samples_df have a system_error, the first is "
            f"attempt {failed[0]['attempt']!r} of instance {failed[0]['instance']!r}: leave them "
            "out, or let nanoeval.metrics.agents.get_summary_error_aware count them"
        )
    return rows


def _read_correctness(frame: Any) -> Correctness:
    columns = read_columns(
        frame,
        name="answer_group_correctness_df",
        required=("instance", "answer_group_id", "is_correct"),
    )
    correctness: dict[tuple[Hashable, Hashable], bool] = {}
    for instance, group, value in zip(*columns.values(), strict=True):
        where = f"answer_group_correctness_df: group {group!r} of instance {instance!r}"
        _check_hashable(group, where)
        is_correct = _truth(value, where)
        if correctness.setdefault((instance, group), is_correct) != is_correct:
            raise ValueError(f"{where} is both correct and incorrect")
    return correctness


def _sample(row: TableRow, correctness: Correctness | None) -> Sample:
    where = f"samples_df: attempt {row['attempt']!r} of instance {row['instance']!r}"
    if row["instance"] is None or row["attempt"] is None:
        raise ValueError(f"{where}: instance and attempt must not be missing")
    outcome = _outcome(row["outcome"], where)
    group = None
    if correctness is None:
        is_correct = _truth(row["is_correct"], where)
    else:
        group = row["answer_group_id"]
        _check_hashable(group, where)
        if group is not None and (row["instance"], group) not in correctness:
            raise ValueError(
                f"answer_group_correctness_df has no row for answer_group_id {group!r} of "
                f"instance {row['instance']!r}, which samples_df has: add whether it is correct"
            )
        is_correct = group is not None and correctness[row["instance"], group]
        if group is None and outcome is None:
            outcome = Outcome.UNPARSABLE
    if outcome is not None and (outcome is Outcome.CORRECT) != is_correct:
        raise ValueError(f"{where} has is_correct={is_correct} but outcome={outcome.value!r}")
    return Sample(
        instance=row["instance"],
        attempt=row["attempt"],
        is_correct=is_correct,
        answer_group=group,
        outcome=outcome,
        cluster=row["cluster"],
    )


def _check_hashable(group: Any, where: str) -> None:
    try:
        hash(group)
    except TypeError:
        raise TypeError(
            f"{where} has the answer_group_id {group!r}, a {type(group).__name__}: give texts, "
            "numbers, tuples or frozensets, which can be compared and counted"
        ) from None


def _truth(value: Any, where: str) -> bool:
    if value is None or value not in (0, 1):
        raise ValueError(
            f"{where} has is_correct={value!r}: it must be true or false (0 or 1). For partial "
            "credit use nanoeval.metrics.clustered_mean"
        )
    return bool(value)


def _outcome(value: Any, where: str) -> Outcome | None:
    if value is None:
        return None
    try:
        outcome = Outcome(value)
    except ValueError:
        raise ValueError(
            f"{where} has outcome={value!r}: give one of {[str(known) for known in Outcome]}"
        ) from None
    if not outcome.is_scored:
        raise SystemErrorsNotSupported(
            f"{where} has outcome={value!r}, a system error, so it has no score: leave it out, or "
            "let nanoeval.metrics.agents.get_summary_error_aware count it"
        )
    return outcome
