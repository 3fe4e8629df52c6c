"""The attempts of a record that count: the last retry of each, and what it scored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nanoeval_core.words import Verdict, verdict
from nanoeval_recorder.reading.sample import RecordedSample, samples

from nanoeval_cli._catalogue import RunInfo, record_path


def counted(path: Path) -> Iterator[RecordedSample]:
    """The attempts that have a match, or whose last retry failed, as they are read.

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


def score_of(sample: RecordedSample) -> float | None:
    """What an attempt scored: a match's `score` where there is one, else 1 or 0."""
    match = sample.match
    if match is None:
        return None
    score = match.get("score")
    if isinstance(score, (int, float)):
        return float(score)
    return None if match.correct is None else float(match.correct)


def verdict_of(sample: RecordedSample) -> Verdict:
    match = sample.match
    data = match.data if match is not None and isinstance(match.data, dict) else None
    return verdict(data, errors=len(sample.errors))


def scores_by_question(path: Path) -> dict[str, list[float]]:
    """Question id → the scores of its attempts, as the metrics take a run."""
    found: dict[str, list[float]] = {}
    for sample in counted(path):
        score = score_of(sample)
        if score is not None:
            found.setdefault(sample.sample_id, []).append(score)
    return found


def scores_of(run: RunInfo) -> dict[str, list[float]]:
    """Question id → the scores of a run's attempts."""
    return scores_by_question(record_path(run))
