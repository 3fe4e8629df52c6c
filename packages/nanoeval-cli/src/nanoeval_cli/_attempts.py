"""The attempts of a record that count: the last retry of each, and what it scored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from nanoeval_recorder.sample import Sample, samples

Verdict = Literal["right", "wrong", "partly right", "unparsable", "error", "no match"]


def counted(path: Path) -> Iterator[Sample]:
    """The attempts that have a match, or whose last retry failed, in the order of the record."""
    last: dict[tuple[str, int], Sample] = {}
    for sample in samples(path):
        key = (sample.sample_id, sample.attempt)
        known = last.get(key)
        if known is None or sample.retry >= known.retry:
            last[key] = sample
    yield from last.values()


def score_of(sample: Sample) -> float | None:
    """What an attempt scored: a match's `score` where there is one, else 1 or 0."""
    match = sample.match
    if match is None:
        return None
    score = match.get("score")
    if isinstance(score, (int, float)):
        return float(score)
    return None if match.correct is None else float(match.correct)


def verdict_of(sample: Sample) -> Verdict:
    match, score = sample.match, score_of(sample)
    if match is not None and match.get("unparsable"):
        return "unparsable"
    if score is None:
        return "error" if sample.errors else "no match"
    return "right" if score == 1 else "wrong" if score == 0 else "partly right"


def scores_by_question(path: Path) -> dict[str, list[float]]:
    """Question id → the scores of its attempts, as the metrics take a run."""
    found: dict[str, list[float]] = {}
    for sample in counted(path):
        score = score_of(sample)
        if score is not None:
            found.setdefault(sample.sample_id, []).append(score)
    return found
