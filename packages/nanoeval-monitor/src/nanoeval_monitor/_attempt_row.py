"""One attempt in one line of a table, made from its events (pure)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from nanoeval_core.metrics.outcomes import Outcome
from nanoeval_recorder.reading.events import ErrorEvent, Event, Match, Metrics, RawSample, Sampling

from nanoeval_monitor._search_words import as_words
from nanoeval_monitor._texts import as_text, head, number, whole

SHORT = 160
LONG = 240
MAX_FIELD = 80
MAX_FIELDS = 24

ERRORED = "error"
"""The outcome of an attempt that has errors and no match."""

UNSCORED = "none"
"""The outcome of an attempt that has neither, or whose match has no score."""

_OF_A_MATCH = frozenset(
    {
        "correct",
        "expected",
        "picked",
        "prob_correct",
        "prob_picked",
        "score",
        "problem",
        "unparsable",
        "tied",
    }
    | {"truncated", "sampled", "options", "prompt"}
)


@dataclasses.dataclass(frozen=True, slots=True)
class AttemptRow:
    """What a table shows of an attempt, and what statistics need of it.

    Attributes:
        outcome: `correct`, `incorrect`, `unparsable`, `refused`, `error` or `none`.
        score: the mean score of its matches, None without a score.
        prob: the probability that was recorded for the picked answer (`prob_picked`), else for the
            correct one.
        prompt, reply: the heads of the last sampling's prompt and first reply, in one line.
        prompt_chars, reply_chars: the lengths of all samplings' prompts and replies.
        error: `Type: message` of the last error.
        fields: short values by name, to group and filter by: a JSON object.
    """

    sample_id: str
    group_id: str
    attempt: int
    retry: int
    outcome: str
    score: float | None
    prob: float | None
    picked: str
    expected: str
    prompt: str
    reply: str
    prompt_chars: int
    reply_chars: int
    samplings: int
    error: str
    fields: str
    at: str


def _confidence(match: Match) -> float | None:
    picked = number(match.get("prob_picked"))
    return number(match.prob_correct) if picked is None else picked


def attempt_row(sample_id: str, group_id: str | None, events: Sequence[Event]) -> AttemptRow:
    """Sum up the events of one attempt."""
    first, _, second = (group_id or "").partition(".")
    matches = [event for event in events if isinstance(event, Match)]
    samplings = [event for event in events if isinstance(event, Sampling)]
    errors = [event for event in events if isinstance(event, ErrorEvent)]
    match = matches[-1] if matches else None
    last = samplings[-1] if samplings else None
    texts = [(as_text(one.prompt), [as_text(text) for text in one.sampled]) for one in samplings]
    scores = [score for one in matches if (score := _score(one)) is not None]
    return AttemptRow(
        sample_id=sample_id,
        group_id=group_id or "",
        attempt=int(first) if first.isdecimal() else 1,
        retry=int(second) if second.isdecimal() else 0,
        outcome=_outcome(match, has_errors=bool(errors)),
        score=sum(scores) / len(scores) if scores else None,
        prob=_confidence(match) if match else None,
        picked=head(as_text(match.picked), SHORT) if match else "",
        expected=head(as_text(match.expected), SHORT) if match else "",
        prompt=head(texts[-1][0], SHORT) if last else "",
        reply=head(texts[-1][1][0], LONG) if last and texts[-1][1] else "",
        prompt_chars=sum(len(prompt) for prompt, _ in texts),
        reply_chars=sum(len(reply) for _, replies in texts for reply in replies),
        samplings=len(samplings),
        error=head(error_text(errors[-1]), LONG) if errors else "",
        fields=json.dumps(dict(_fields(events)), ensure_ascii=False),
        at=whole(str(events[0].created_at or "")),
    )


def search_text(sample_id: str, events: Sequence[Event]) -> str:
    """All texts of an attempt that a person may search for, as the index has them."""
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
    return as_words(whole("\n".join(found)))


def error_text(event: ErrorEvent) -> str:
    kind, message = as_text(event.error_type), as_text(event.message)
    return f"{kind}: {message}" if kind else message


def _score(match: Match) -> float | None:
    score = number(match.get("score"))
    return number(match.correct) if score is None else score


def _outcome(match: Match | None, *, has_errors: bool) -> str:
    if match is None:
        return ERRORED if has_errors else UNSCORED
    if match.get("problem") == "unparsable" or match.get("unparsable") is True:
        return Outcome.UNPARSABLE.value
    if match.get("problem") in ("content_policy", "refused") or match.get("refused") is True:
        return Outcome.REFUSED.value
    if _score(match) is None:
        return UNSCORED  # `correct` is no yes or no
    return Outcome.CORRECT.value if match.correct is True else Outcome.INCORRECT.value


def _fields(events: Sequence[Event]) -> Iterator[tuple[str, str]]:
    """Recorded fields that are not the usual ones and are short enough to name a group."""
    left = MAX_FIELDS
    for event in events:
        sources: list[dict[str, Any] | None] = [event.extra]
        if isinstance(event, (Match, Metrics, RawSample)) and isinstance(event.data, dict):
            sources.append(event.data)
            sources.append(event.data.get("metadata"))
        for source in sources:
            for name, value in (source if isinstance(source, dict) else {}).items():
                is_short = isinstance(value, (str, bool, int)) and len(str(value)) <= MAX_FIELD
                if is_short and name not in _OF_A_MATCH and left > 0:
                    left -= 1
                    yield whole(str(name)), whole(str(value))
