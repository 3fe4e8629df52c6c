"""What attempts scored, without reading what was said: records of any size at flat memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from nanoeval_core.errors import RecorderError

from nanoeval_recorder.reading._open import open_record
from nanoeval_recorder.reading.events import RunStarted
from nanoeval_recorder.reading.reader import first_event, read_record, record_files, record_parts
from nanoeval_recorder.reading.sample import samples_of

__all__ = ["AttemptScore", "GroupScore", "accuracy_by", "attempt_scores"]

_ENDS = b'type":"match"', b'type":"error"'  # of `type` and of `record_type`, as we write them


class AttemptScore(NamedTuple):
    """How one attempt went.

    Attributes:
        sample_id: the task's `question_id`.
        attempt: which attempt at the question this was, from 1.
        retry: how often it had been retried before, from 0.
        score: the last match's `score` where it has one, else 1.0 or 0.0; None without a match.
        failed: whether it ended in an error, without a match.
        metadata: what the match said of its question: a subject, a level.
    """

    sample_id: str
    attempt: int
    retry: int
    score: float | None
    failed: bool
    metadata: dict[str, Any]


class GroupScore(NamedTuple):
    """The questions that have one value of a field: how many, and their accuracy."""

    questions: int
    accuracy: float


class _ScoredFields(msgspec.Struct):
    correct: Any = None
    score: Any = None
    metadata: Any = None


class _ScoredLine(_ScoredFields):
    sample_id: Any = None
    group_id: Any = None
    type: Any = None
    record_type: Any = None
    data: _ScoredFields | None = None


_decode = msgspec.json.Decoder(_ScoredLine).decode


def attempt_scores(path: str | Path) -> Iterator[AttemptScore]:
    """Yield what each attempt in a record or a folder of records scored, in their order.

    Of an attempt that was retried, each try is given.

    Raises:
        RecorderError: the file is no record, or a line of it is no JSON.
    """
    for file in record_files(path):
        first = first_event(file)
        # What others write may be spaced differently, and its attempts interleave.
        ours = isinstance(first, RunStarted) and first.run_set_id is not None
        yield from _scan(file) if ours else _of_samples(file)


def accuracy_by(path: str | Path, by: str) -> dict[Any, GroupScore]:
    """Return the accuracy of the questions of each value that the metadata field `by` has.

    A question weighs the same however many attempts it has. Those without the field are under
    None.
    """
    groups: dict[Any, dict[str, list[float]]] = {}
    for one in attempt_scores(path):
        if one.score is not None:
            value = one.metadata.get(by)
            value = value if is_scalar(value) else str(value)
            groups.setdefault(value, {}).setdefault(one.sample_id, []).append(one.score)
    return {
        value: GroupScore(
            len(questions), sum(sum(s) / len(s) for s in questions.values()) / len(questions)
        )
        for value, questions in groups.items()
    }


def is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (str, bool, int, float))


def _scan(file: Path) -> Iterator[AttemptScore]:
    match, error = _ENDS
    ids: tuple[Any, Any] | None = None
    last: _ScoredFields | None = None
    for part in record_parts(file):
        with open_record(part) as lines:
            for number, line in enumerate(lines, 1):
                if match not in line and error not in line:
                    continue
                try:
                    event = _decode(line)
                except (msgspec.MsgspecError, RecursionError) as problem:
                    if not line.endswith(b"\n"):
                        break  # its writer has not ended it yet, or never will
                    if not isinstance(problem, msgspec.ValidationError):
                        raise RecorderError(f"{part}:{number} is no JSON: {problem}") from problem
                    continue  # an event of another type, whose data is no object
                kind = event.type or event.record_type
                if kind not in ("match", "error") or event.sample_id is None:
                    continue
                if (event.sample_id, event.group_id) != ids:
                    if ids is not None:
                        yield _score(ids, last)
                    ids, last = (event.sample_id, event.group_id), None
                if kind == "match":
                    last = event if event.data is None else event.data
    if ids is not None:
        yield _score(ids, last)


def _score(ids: tuple[Any, Any], match: _ScoredFields | None) -> AttemptScore:
    sample_id, group_id = str(ids[0]), str(ids[1] or "")
    attempt, _, retry = group_id.partition(".")
    numbers = (
        int(attempt) if attempt.isdecimal() else 1,
        int(retry) if retry.isdecimal() else 0,
    )
    if match is None:
        return AttemptScore(sample_id, *numbers, None, True, {})
    metadata = match.metadata if isinstance(match.metadata, dict) else {}
    return AttemptScore(sample_id, *numbers, score_of(match.score, match.correct), False, metadata)


def score_of(score: Any, correct: Any) -> float | None:
    """Return what a match scored: its `score` where that is a number, else 1.0 or 0.0."""
    if isinstance(score, (int, float)) and not isinstance(score, bool):
        return float(score)
    return float(correct) if isinstance(correct, bool) else None


def _of_samples(file: Path) -> Iterator[AttemptScore]:
    for sample in samples_of(read_record(file)):
        match, ids = sample.match, (sample.sample_id, sample.attempt, sample.retry)
        if match is not None:
            metadata = match.get("metadata")
            known = metadata if isinstance(metadata, dict) else {}
            yield AttemptScore(*ids, score_of(match.get("score"), match.correct), False, known)
        elif sample.errors:
            yield AttemptScore(*ids, None, True, {})
