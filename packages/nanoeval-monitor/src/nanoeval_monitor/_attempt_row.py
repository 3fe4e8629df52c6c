"""One attempt in one line of a table, made from its events (pure)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from nanoeval_core.json_values import utf8
from nanoeval_core.words import Verdict, verdict
from nanoeval_recorder.reading.events import ErrorEvent, Event, Match, Metrics, RawSample, Sampling

from nanoeval_monitor._search_words import as_words
from nanoeval_monitor._value_text import as_text, head, number, question_of

SHORT = 160
LONG = 240
MAX_FIELD = 80
MAX_FIELDS = 24

_NO_FIELDS = frozenset(
    {"correct", "expected", "picked", "prob_correct", "prob_picked", "score", "problem", "tied"}
    | {"unparsable", "truncated", "sampled", "options", "prompt", "completed"}
)


@dataclasses.dataclass(frozen=True, slots=True)
class AttemptRow:
    """What a table shows of an attempt, and what statistics need of it.

    Attributes:
        verdict: what it came to, as if no retry followed it.
        score: the mean score of its matches, None without a score.
        prob: the probability that was recorded for the picked answer (`prob_picked`), else for the
            correct one.
        question: the head of what the first sampling asks, in one line.
        reply: the head of the last sampling's first reply, in one line.
        prompt_chars, reply_chars: the lengths of all samplings' prompts and replies, as recorded.
        error: `Type: message` of the last error.
        fields: short values by name, to group and filter by: a JSON object.
    """

    sample_id: str
    group_id: str
    attempt: int
    retry: int
    verdict: Verdict
    score: float | None
    prob: float | None
    picked: str
    expected: str
    question: str
    reply: str
    prompt_chars: int
    reply_chars: int
    samplings: int
    error: str
    fields: str
    at: str


def attempt_row(sample_id: str, group_id: str | None, events: Sequence[Event]) -> AttemptRow:
    """Sum up the events of one attempt."""
    first, _, second = (group_id or "").partition(".")
    matches = [event for event in events if isinstance(event, Match)]
    samplings = [event for event in events if isinstance(event, Sampling)]
    errors = [event for event in events if isinstance(event, ErrorEvent)]
    match = matches[-1] if matches else None
    replies = [[as_text(text) for text in one.sampled] for one in samplings]
    scores = [score for one in matches if (score := _score(one)) is not None]
    return AttemptRow(
        sample_id=sample_id,
        group_id=group_id or "",
        attempt=_small(first, 1),
        retry=_small(second, 0),
        verdict=_verdict(match, len(errors)),
        score=sum(scores) / len(scores) if scores else None,
        prob=_confidence(match) if match else None,
        picked=head(as_text(match.picked), SHORT) if match else "",
        expected=head(as_text(match.expected), SHORT) if match else "",
        question=head(question_of(samplings[0].prompt), LONG) if samplings else "",
        reply=head(replies[-1][0], LONG) if replies and replies[-1] else "",
        prompt_chars=sum(len(as_text(one.prompt)) for one in samplings),
        reply_chars=sum(len(reply) for one in replies for reply in one),
        samplings=len(samplings),
        error=head(error_text(errors[-1]), LONG) if errors else "",
        fields=json.dumps(dict(_fields(events)), ensure_ascii=False),
        at=utf8(str(events[0].created_at or "")),
    )


def search_text(sample_id: str, events: Sequence[Event]) -> str:
    """Return all texts of an attempt that a person may search for, as the index has them."""
    found = [sample_id]
    for event in events:
        if isinstance(event, Sampling):
            found += [as_text(event.prompt), *(as_text(one) for one in event.sampled)]
        elif isinstance(event, Match):
            found += [as_text(event.picked), as_text(event.expected)]
        elif isinstance(event, ErrorEvent):
            found.append(error_text(event))
        elif not isinstance(event, Metrics):
            found.append(as_text(event.data))
    return as_words(utf8("\n".join(found)))


def error_text(event: ErrorEvent) -> str:
    kind, message = as_text(event.error_type), as_text(event.message)
    return f"{kind}: {message}" if kind else message


def _small(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else default


def _confidence(match: Match) -> float | None:
    picked = number(match.get("prob_picked"))
    return number(match.prob_correct) if picked is None else picked


def _score(match: Match) -> float | None:
    score = number(match.get("score"))
    return number(match.correct) if score is None else score


def _verdict(match: Match | None, errors: int) -> Verdict:
    if match is None:
        return verdict(None, errors=errors)
    data = match.data if isinstance(match.data, dict) else {}
    return verdict({**data, "score": _score(match)}, errors=errors)


def _fields(events: Sequence[Event]) -> Iterator[tuple[str, str]]:
    """Yield what was recorded next to the usual fields and is short enough to name a group."""
    left = MAX_FIELDS
    for event in events:
        sources: list[dict[str, Any] | None] = [event.extra]
        if isinstance(event, (Match, Metrics, RawSample)) and isinstance(event.data, dict):
            sources.append(event.data)
            sources.append(event.data.get("metadata"))
        for source in sources:
            for name, value in (source if isinstance(source, dict) else {}).items():
                if _is_short(value) and name not in _NO_FIELDS and left > 0:
                    left -= 1
                    yield utf8(str(name)), utf8(str(value))


def _is_short(value: Any) -> bool:
    if isinstance(value, int):
        return value.bit_length() < 3 * MAX_FIELD
    return isinstance(value, (str, float)) and len(str(value)) <= MAX_FIELD
