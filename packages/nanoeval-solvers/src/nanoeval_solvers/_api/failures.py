"""What a failed call means, and what to do next. Pure."""

from __future__ import annotations

import dataclasses
import datetime
import email.utils
import json
import random
import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any


class Kind(Enum):
    """What to do about a failed call."""

    FATAL = auto()  # it will never work: the run ends
    CONTEXT_LENGTH = auto()  # a result: the prompt is too long for the model
    CONTENT_POLICY = auto()  # a result: the endpoint refuses the content
    OVERLOADED = auto()  # try again, and ask for less
    TRANSIENT = auto()  # try again


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed call.

    Attributes:
        kind: what to do about it.
        words: what the endpoint (or the connection) said.
        status: of the HTTP reply; None when there was none.
        retry_after: seconds that the endpoint asks to wait.
        timed_out: there was no reply in time.
        unreachable: there was no connection.
    """

    kind: Kind
    words: str
    status: int | None = None
    retry_after: float | None = None
    timed_out: bool = False
    unreachable: bool = False


_CONTEXT_CODES = frozenset({"context_length_exceeded", "string_above_max_length"})
_CONTEXT_WORDS = re.compile(
    r"context (?:length|size|window)|maximum (?:context|sequence|prompt|input) length|"
    r"max_model_len|exceed\w* (?:the )?(?:available )?context|prompt is too long|"
    r"too many (?:input |prompt )?tokens|input is too long",
    re.IGNORECASE,
)
_POLICY_CODES = frozenset(
    {"content_filter", "content_policy_violation", "invalid_prompt", "moderation_blocked"}
)
_POLICY_WORDS = re.compile(
    r"content (?:management )?(?:policy|filter)|usage polic|safety (?:system|polic)|"
    r"flagged as potentially violating|moderation",
    re.IGNORECASE,
)
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_OVERLOADED = frozenset({429, 503, 529})
_TRANSIENT = frozenset({404, 408, 409, 425, 500, 502, 504, 520, 521, 522, 523, 524})


def failure_of(
    status: int, headers: Mapping[str, str], body: bytes, *, now: float | None = None
) -> Failure:
    """What an HTTP reply other than success means.

    Args:
        now: seconds since 1970, for a reply that asks to wait until a date and does not say its
            own.
    """
    words, codes = said(body)
    words = words or f"HTTP status {status}"
    return Failure(
        kind=_kind(status, codes, words),
        words=words,
        status=status,
        retry_after=retry_after(headers, now=now),
    )


def _kind(status: int, codes: frozenset[str], words: str) -> Kind:
    if status in (400, 413, 422):
        if codes & _CONTEXT_CODES or (_CONTEXT_WORDS.search(words) is not None):
            return Kind.CONTEXT_LENGTH
        if codes & _POLICY_CODES or _POLICY_WORDS.search(words):
            return Kind.CONTENT_POLICY
        return Kind.FATAL
    if codes & _POLICY_CODES and status == 403:
        return Kind.CONTENT_POLICY
    if codes & _QUOTA_CODES:
        return Kind.FATAL
    if status in _OVERLOADED:
        return Kind.OVERLOADED
    if status == 404:
        return Kind.FATAL
    if status in _TRANSIENT or status >= 500:
        return Kind.TRANSIENT
    return Kind.FATAL


def said(body: bytes) -> tuple[str, frozenset[str]]:
    """The message of an error's body, and its codes."""
    try:
        content: Any = json.loads(body)
    except (ValueError, RecursionError):
        return " ".join(body.decode("utf-8", "replace").split())[:500], frozenset()
    if isinstance(content, list) and len(content) == 1:
        content = content[0]  # Google's endpoint wraps its errors in a list
    error = content.get("error", content) if isinstance(content, dict) else content
    if not isinstance(error, dict):
        return str(error)[:500], frozenset()
    inner = error.get("innererror")
    codes = [error.get("code"), error.get("type")]
    codes += [inner.get("code")] if isinstance(inner, dict) else []
    message = error.get("message") or error.get("detail") or content
    return str(message)[:2000], frozenset(str(code).lower() for code in codes if code is not None)


def retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Seconds that the headers ask to wait, never negative; None when they ask for nothing."""
    precise = _number(headers.get("retry-after-ms", ""))
    if precise is not None:
        return max(0.0, precise / 1000)
    asked = headers.get("retry-after")
    if asked is None:
        return None
    seconds = seconds_of(asked)
    if seconds is None:
        then, base = _time_of(asked), _time_of(headers.get("date", ""))
        base = now if base is None else base  # the endpoint's clock, where it is told, not ours
        seconds = None if then is None or base is None else then - base
    return None if seconds is None else max(0.0, seconds)


def _time_of(date: str) -> float | None:
    """An HTTP date, in seconds since 1970."""
    try:
        found = email.utils.parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    # `-0000`, and no zone at all, are UTC: HTTP has no other.
    return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number == number and abs(number) != float("inf") else None


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str) -> float | None:
    """A duration such as `6m0s`, `120ms` or `1.5`, in seconds."""
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text.strip():
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return _number(text)


def rate_headers(headers: Mapping[str, str]) -> tuple[float, float, float] | None:
    """`(limit, remaining, seconds until reset)` of `x-ratelimit-*-requests`, when given."""
    remaining = headers.get("x-ratelimit-remaining-requests")
    if remaining is None:
        return None
    numbers = (
        _number(headers.get("x-ratelimit-limit-requests", "")),
        _number(remaining),
        seconds_of(headers.get("x-ratelimit-reset-requests", "")),
    )
    limit, left, reset = numbers
    if limit is None or left is None or reset is None:
        return None
    return limit, left, reset


FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0


def delay_before(
    retry: int, failure: Failure, dice: random.Random, *, first: float = FIRST_DELAY
) -> float:
    """Seconds to wait before retry number `retry`, from 1.

    Exponential with full jitter: uniform from 0 to `first`·2^(retry-1), at most `LONGEST_DELAY`.
    What the endpoint asks for is waited as well, so that those who were refused together do not
    come back together.
    """
    backoff = dice.uniform(0, min(LONGEST_DELAY, first * 2.0 ** (retry - 1)))
    return backoff + (failure.retry_after or 0.0)
