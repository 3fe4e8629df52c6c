"""The attempts of a record that count: the last retry of each, and what it scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nanoeval_core.errors import ConfigError
from nanoeval_core.words import AttemptState, verdict
from nanoeval_recorder.reading.sample import RecordedSample, samples
from nanoeval_recorder.reading.scores import question_scores

from nanoeval_cli._runs import RunInfo


def counted(path: Path) -> Iterator[RecordedSample]:
    """Yield the attempts that have a match, or whose last retry failed, as they are read.

    Those that failed come last: only at the end is it known that no retry follows.
    """
    failed: dict[tuple[str, int], RecordedSample] = {}
    for sample in samples(path):
        key = (sample.sample_id, sample.attempt)
        if sample.errors and sample.match is None:
            known = failed.get(key)
            if known is None or sample.retry >= known.retry:
                failed[key] = sample
        else:
            failed.pop(key, None)
            yield sample
    yield from failed.values()


def match_of(sample: RecordedSample) -> dict[str, Any] | None:
    match = sample.match
    return match.data if match is not None and isinstance(match.data, dict) else None


def verdict_of(sample: RecordedSample) -> AttemptState:
    return verdict(match_of(sample), errors=len(sample.errors))


def scores_of(
    run: RunInfo, like: Mapping[str, tuple[float, ...]] | None = None
) -> dict[str, tuple[float, ...]]:
    """Return question id → the scores of a run's attempts, by its matches or by its results.

    Args:
        run: its record is read, or its state where the record holds no match.
        like: another run's scores, whose ids are shared where they are equal: a million questions
            take their space once.

    Raises:
        ConfigError: neither says what the attempts scored.
    """
    found = question_scores(run.record, like) if run.record is not None else {}
    if not found and run.state_file is not None and run.row is not None:
        # Deferred: few runs need it, and it imports what loads their results.
        from nanoeval_runner.stored_scores import stored_scores  # noqa: PLC0415

        found = stored_scores(run.state_file.path, run.row)
    if not found:
        raise ConfigError(
            f"run {run.run_id} has no scores to compare: its record holds no match, and its state "
            "is gone or holds results that do not say what they score. Call "
            "get_recorder().record_match in evaluate, or return a bool or something with `correct`"
        )
    return found
