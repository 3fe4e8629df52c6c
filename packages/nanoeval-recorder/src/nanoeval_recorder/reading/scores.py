"""What attempts scored, without reading what was said: records of any size at flat memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from nanoeval_core.errors import RecorderError

from nanoeval_recorder.reading._open import open_record
from nanoeval_recorder.reading.events import RunStarted
from nanoeval_recorder.reading.reader import first_event, read_record, record_files, record_parts
from nanoeval_recorder.reading.sample import attempt_and_retry, samples_of

__all__ = ["AttemptScore", "GroupScore", "accuracy_by", "attempt_scores", "question_scores"]

_TYPE = b'type":"'  # the end of `type` and of `record_type`, as we write them
_ENDS = b'type":"match"', b'type":"error"'
_SKIPPED = (b'sampling"', b'metrics"', b'sample_completed"', b'extra"', b'raw_sample"', b'file"')
_KINDS = ("match", "error")
_RIGHT, _WRONG = (1.0,), (0.0,)


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
        for sample_id, group_id, match in _scored(file):
            attempt, retry = attempt_and_retry(group_id)
            said = match or _ScoredFields()
            metadata = said.metadata if isinstance(said.metadata, dict) else {}
            score = score_of(said.score, said.correct)
            yield AttemptScore(sample_id, attempt, retry, score, match is None, metadata)


def question_scores(
    path: str | Path, like: Mapping[str, tuple[float, ...]] | None = None
) -> dict[str, tuple[float, ...]]:
    """Return question id → what its attempts scored, for questions with a match that has a score.

    Args:
        path: a record, or a folder of records.
        like: another record's scores, whose ids are shared where they are equal: a million
            questions take their space once.

    Raises:
        RecorderError: as `attempt_scores` raises it.
    """
    known = dict(zip(like, like, strict=True)) if like else {}
    found: dict[str, tuple[float, ...]] = {}
    for file in record_files(path):
        for sample_id, _, match in _scored(file):
            score = None if match is None else score_of(match.score, match.correct)
            if score is not None:
                question = known.get(sample_id, sample_id)
                only = _RIGHT if score == 1 else _WRONG if score == 0 else (score,)
                found[question] = found.get(question, ()) + only  # () costs no copy
    return found


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
    return value is None or isinstance(value, (str, int, float))


_Scored = tuple[str, str, _ScoredFields | None]
"""An attempt's ids, and its last match; None where it ended in an error."""


def _scored(file: Path) -> Iterator[_Scored]:
    first = first_event(file)
    if isinstance(first, RunStarted) and first.run_set_id is not None:
        yield from _of_lines(file)
    else:  # not written by us: others may space lines otherwise, or interleave attempts
        for sample in samples_of(read_record(file)):
            match, group_id = sample.match, sample.group_id or ""
            if match is not None:
                said = (match.get(name) for name in _ScoredFields.__struct_fields__)
                yield sample.sample_id, group_id, _ScoredFields(*said)
            elif sample.errors:
                yield sample.sample_id, group_id, None


def _of_lines(file: Path) -> Iterator[_Scored]:
    events = itertools.chain.from_iterable(map(_ends, record_parts(file)))
    for ids, attempt in itertools.groupby(events, attrgetter("sample_id", "group_id")):
        last: _ScoredFields | None = None
        for event in attempt:
            if (event.type or event.record_type) == "match":
                last = event if event.data is None else event.data
        yield str(ids[0]), str(ids[1] or ""), last


def _ends(part: Path) -> Iterator[_ScoredLine]:
    """Yield the matches and errors of attempts in one file."""
    match, error = _ENDS
    skip = len(_TYPE)
    with open_record(part) as lines:
        for number, line in enumerate(lines, 1):
            if line.startswith(_SKIPPED, line.find(_TYPE) + skip):
                continue  # where the type comes first, the rest need not be looked through
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
            if event.sample_id is not None and (event.type or event.record_type) in _KINDS:
                yield event


def score_of(score: Any, correct: Any) -> float | None:
    """Return what a match scored: its `score` where that is a number, else 1.0 or 0.0."""
    if score is not None and isinstance(score, (int, float)) and not isinstance(score, bool):
        return float(score)
    return float(correct) if isinstance(correct, bool) else None
