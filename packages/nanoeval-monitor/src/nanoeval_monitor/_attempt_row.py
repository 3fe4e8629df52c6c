"""One attempt in one line of a table, made from its events (pure)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

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
    | {"unparsable", "truncated", "sampled", "options", "prompt", "completed", "question"}
)


class AttemptRow(NamedTuple):
    """What a table shows of an attempt, and what statistics need of it.

    Attributes:
        verdict: what it came to, as if no retry followed it.
        score: the mean score of its matches, None without a score.
        prob: the probability that was recorded for the picked answer (`prob_picked`), else for the
            correct one.
        question: its head in one line: as the match has it, else what the first sampling asks.
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
    attempt, _, retry = (group_id or "").partition(".")
    match: dict[str, Any] | None = None
    scores: list[float] = []
    question = reply = error = ""
    prompt_chars = reply_chars = samplings = errors = 0
    for event in events:  # one loop, in a part of the monitor that runs for every attempt
        data = event.data if isinstance(event.data, dict) else {}
        if isinstance(event, Match):
            match = data
            score = _score(data)
            if score is not None:
                scores.append(score)
        elif isinstance(event, Sampling):
            prompt, replies = data.get("prompt"), [as_text(one) for one in event.sampled]
            if not samplings:
                question = question_of(prompt)
            samplings += 1
            prompt_chars += len(as_text(prompt))
            reply_chars += sum(map(len, replies))
            reply = replies[0] if replies else ""
        elif isinstance(event, ErrorEvent):
            errors += 1
            error = error_text(event)
    found: dict[str, Any] = {} if match is None else match
    asked, prob = found.get("question"), number(found.get("prob_picked"))
    return AttemptRow(
        sample_id,
        group_id or "",
        _small(attempt, 1),
        _small(retry, 0),
        _verdict(match, errors),
        sum(scores) / len(scores) if scores else None,
        number(found.get("prob_correct")) if prob is None else prob,
        head(as_text(found.get("picked")), SHORT),
        head(as_text(found.get("expected")), SHORT),
        head(asked if isinstance(asked, str) and asked else question, LONG),
        head(reply, LONG),
        prompt_chars,
        reply_chars,
        samplings,
        head(error, LONG),
        _fields(events),
        utf8(str(events[0].created_at or "")),
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


def _score(match: dict[str, Any]) -> float | None:
    score = number(match.get("score"))
    return number(match.get("correct")) if score is None else score


def _verdict(match: dict[str, Any] | None, errors: int) -> Verdict:
    if match is not None and "score" in match:  # which may be no number
        match = {**match, "score": _score(match)}
    return verdict(match, errors=errors)


def _fields(events: Sequence[Event]) -> str:
    """Return what was recorded besides the usual fields and can name a group, as JSON."""
    found: dict[str, str] = {}
    for event in events:
        sources: list[Any] = [event.extra] if event.extra else []
        if isinstance(event, (Match, Metrics, RawSample)) and isinstance(event.data, dict):
            sources += [event.data, event.data.get("metadata")]
        for source in sources:
            for name, value in source.items() if isinstance(source, dict) else ():
                if name not in _NO_FIELDS and _is_short(value) and len(found) < MAX_FIELDS:
                    found[utf8(str(name))] = utf8(str(value))
    return json.dumps(found, ensure_ascii=False) if found else "{}"


def _is_short(value: Any) -> bool:
    if isinstance(value, int):
        return value.bit_length() < 3 * MAX_FIELD
    return isinstance(value, (str, float)) and len(str(value)) <= MAX_FIELD
