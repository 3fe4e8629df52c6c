"""One attempt in one line of a table, and its searchable text, made from its events (pure)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from nanoeval_core.json_values import utf8
from nanoeval_core.words import AttemptState, verdict
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
        reply_chars: the length of all samplings' replies, as recorded.
        error: `Type: message` of the last error.
        fields: short values by name, to group and filter by: a JSON object.
    """

    sample_id: str
    group_id: str
    attempt: int
    retry: int
    verdict: AttemptState
    score: float | None
    prob: float | None
    picked: str
    expected: str
    question: str
    reply: str
    reply_chars: int
    samplings: int
    error: str
    fields: str
    at: str


class AttemptDigest:
    """What an attempt comes to, event by event: its row, and its texts to search in."""

    _match: dict[str, Any] | None = None
    _score = 0.0
    _num_scores = _errors = _samplings = _reply_chars = 0
    _question = _reply = _error = _at = ""

    def __init__(self, sample_id: str, group_id: str, events: Iterable[Event] = ()) -> None:
        self._sample_id = sample_id
        self._group_id = group_id
        self._texts = [sample_id]
        self._fields: dict[str, str] = {}
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Take in the attempt's next event; nothing of it is kept but texts."""
        data = event.data if isinstance(event.data, dict) else {}
        if not self._at:
            self._at = event.created_at or ""
        self._add_fields(event.extra)
        if isinstance(event, Sampling):
            prompt, replies = data.get("prompt"), [as_text(one) for one in event.sampled]
            if not self._samplings:
                self._question = head(question_of(prompt), LONG)
            self._samplings += 1
            self._reply_chars += sum(map(len, replies))
            self._reply = replies[0] if replies else ""
            self._texts += (as_text(prompt), *replies)
        elif isinstance(event, Match):
            score = number(data.get("score"))
            if score is None:
                score = number(data.get("correct"))
            self._match = {**data, "score": score}
            if score is not None:
                self._num_scores += 1
                self._score += score
            self._texts += (as_text(data.get("picked")), as_text(data.get("expected")))
        elif isinstance(event, ErrorEvent):
            self._errors += 1
            kind, message = as_text(event.error_type), as_text(event.message)
            self._error = f"{kind}: {message}" if kind else message
            self._texts.append(self._error)
        elif not isinstance(event, Metrics):
            self._texts.append(as_text(event.data))
        if isinstance(event, (Match, Metrics, RawSample)):
            self._add_fields(data)
            self._add_fields(data.get("metadata"))

    def _add_fields(self, source: Any) -> None:
        """Keep what was recorded besides the usual fields and can name a group."""
        for name, value in source.items() if isinstance(source, dict) else ():
            if len(self._fields) < MAX_FIELDS and name not in _NO_FIELDS and _is_short(value):
                self._fields[utf8(str(name))] = utf8(str(value))

    def row(self) -> AttemptRow:
        attempt, _, retry = self._group_id.partition(".")
        match = self._match or {}
        asked, prob = match.get("question"), number(match.get("prob_picked"))
        return AttemptRow(
            self._sample_id,
            self._group_id,
            _small(attempt, 1),
            _small(retry, 0),
            verdict(self._match, errors=self._errors),
            self._score / self._num_scores if self._num_scores else None,
            number(match.get("prob_correct")) if prob is None else prob,
            head(as_text(match.get("picked")), SHORT),
            head(as_text(match.get("expected")), SHORT),
            head(asked, LONG) if isinstance(asked, str) and asked else self._question,
            head(self._reply, LONG),
            self._reply_chars,
            self._samplings,
            head(self._error, LONG),
            json.dumps(self._fields, ensure_ascii=False) if self._fields else "{}",
            utf8(self._at),
        )

    def search_text(self) -> str:
        """Return all texts of the attempt that a person may search for, as the index has them."""
        return as_words(utf8("\n".join(self._texts)))


def _small(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else default


def _is_short(value: Any) -> bool:
    if isinstance(value, int):
        return value.bit_length() < 3 * MAX_FIELD
    return isinstance(value, (str, float)) and len(str(value)) <= MAX_FIELD
