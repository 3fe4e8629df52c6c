"""What a failed call means, and what to do next. Pure."""

from __future__ import annotations

import dataclasses
import html
import json
import random
import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any


class Meaning(Enum):
    """What to do about a failed call."""

    FATAL = auto()  # it will never work: the run ends
    REJECTED = auto()  # this request will never work: its task fails, unless all are rejected
    CONTEXT_LENGTH = auto()  # a result: the prompt is too long for the model
    CONTENT_POLICY = auto()  # a result: the endpoint refuses the content
    STREAM_ONLY = auto()  # ask for a stream
    UNAUTHORIZED = auto()  # try again once, with the key as it is now: it may have been rotated
    EMPTY = auto()  # nothing was said: try again once
    OVERLOADED = auto()  # try again, and ask for less
    TRANSIENT = auto()  # try again


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed call.

    Attributes:
        meaning: what to do about it.
        words: what the endpoint (or the connection) said.
        status: of the HTTP reply; None when there was none.
        retry_after: seconds that the endpoint asks to wait.
        timed_out: there was no reply in time.
        unreachable: there was no connection.
        whatever_is_asked: it was rejected for the address or the key, not for what is in it.
    """

    meaning: Meaning
    words: str
    status: int | None = None
    retry_after: float | None = None
    timed_out: bool = False
    unreachable: bool = False
    whatever_is_asked: bool = False


_CONTEXT_CODES = frozenset(
    {"context_length_exceeded", "string_above_max_length", "exceed_context_size_error"}
)
# As OpenAI, vLLM, SGLang, llama.cpp, TGI, TensorRT-LLM, Gemini, Anthropic, Mistral, Groq, Cohere,
# DashScope, Moonshot and others put it.
_CONTEXT_WORDS = re.compile(
    r"context (?:length|size|window)|context limit|model token limit|"
    r"maximum (?:context|sequence|prompt|input|model) length|max_(?:model|seq|input)_len|"
    r"exceed\w* (?:the )?(?:available )?context|prompt (?:is )?too long|input is too long|"
    r"too many (?:input |prompt )?tokens|range of input length|"
    r"input token count\W.{0,40}exceeds|prompt length\b.{0,40}(?:exceed|longer)|"
    r"`?inputs`? (?:tokens \+|must have less than)|reduce the length of the (?:messages|prompt)|"
    r"longer than the maximum model",
    re.IGNORECASE | re.DOTALL,
)
_LIMIT = r"[`'\"]?max_(?:completion_|output_|new_)?tokens[`'\"]?"
# An argument that is wrong for every prompt: beyond what the model can write, or not known.
_ARGUMENT_WORDS = re.compile(
    rf"{_LIMIT}\D{{0,60}}(?:is too large|too large:|must be (?:at most|less than|between|in)|"
    rf"should be (?:in|between|less)|value is less|is greater than|exceeds the (?:maximum|limit))|"
    rf"range of {_LIMIT}|invalid {_LIMIT}|{_LIMIT}: \d+ > \d+|"
    r"(?:unknown|unrecognized|unsupported|unexpected) (?:request )?(?:parameter|argument|field)",
    re.IGNORECASE | re.DOTALL,
)
_TOO_LARGE_FOR_PROMPT = re.compile(
    r"too large: (?P<asked>\d+).*?context length is (?P<context>\d+)", re.IGNORECASE | re.DOTALL
)
_POLICY_CODES = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "invalid_prompt",
        "moderation_blocked",
        "data_inspection_failed",
        "datainspectionfailed",
        "responsibleaipolicyviolation",
        "1301",  # Zhipu
    }
)
_POLICY_WORDS = re.compile(
    r"content (?:management )?(?:policy|filter)|usage polic|safety (?:system|polic|filter)|"
    r"flagged as potentially violating|moderation|inappropriate content|content exists risk|"
    r"considered high risk|prohibited_content|block_?reason|new_sensitive|guardrail",
    re.IGNORECASE,
)
_STREAM_WORDS = re.compile(
    r"only supports? (?:the )?stream|enable the stream|requires? (?:the )?stream|"
    r"stream\W{1,3}(?:must be (?:set to )?|to |=\W?)?true|non-?stream\w* .{0,40}not supported|"
    r"stream\W{1,3}false\W.{0,20}not supported",
    re.IGNORECASE,
)
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_RATE_WORDS = re.compile(r"rate.?limit|too many requests|qps|overloaded", re.IGNORECASE)
_TOO_LARGE_WORDS = re.compile(r"request too large|request_too_large", re.IGNORECASE)
# Whatever is said; others are transient from 500 on, and rejections below.
_MEANING_OF: Mapping[int, Meaning] = {
    401: Meaning.UNAUTHORIZED,
    402: Meaning.FATAL,
    **dict.fromkeys((408, 409, 425), Meaning.TRANSIENT),
    # Beyond 429 and 503, what services use for "not now": Groq's 498, a gateway's 499, ….
    **dict.fromkeys((420, 423, 424, 429, 498, 499, 503, 529), Meaning.OVERLOADED),
}
_NOTHING_THERE = frozenset({301, 302, 303, 307, 308, 404, 405, 407, 410})
# What errors within a reply of status 200 are, by their type or code.
_STATUS_OF = {
    "rate_limit": 429,
    "overloaded": 529,
    "insufficient_quota": 429,
    "invalid_request": 400,
    "invalid_prompt": 400,
    "authentication": 401,
    "permission": 403,
    "not_found": 404,
    "timeout": 504,
}


def failure_of(status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> Failure:
    """Return what an HTTP reply other than success means.

    Args:
        now: seconds since 1970, for a reply that asks to wait until a date and does not say its
            own.
    """
    words, codes = said(body)
    words = words or f"HTTP status {status}"
    # A firewall's page is about the request, an API's own 403 about the key.
    forbidden = status == 403 and body.lstrip()[:1] == b"{"
    delay = re.search(rb'"retryDelay"\s*:\s*"(\d+(?:\.\d+)?)s"', body)  # Google's RetryInfo
    asked = float(delay[1]) if delay else None
    return Failure(
        meaning=_meaning(status, codes, words),
        words=words,
        status=status,
        retry_after=retry_after(headers, status=status, now=now) or asked,
        whatever_is_asked=forbidden or status in _NOTHING_THERE,
    )


def status_in(body: bytes) -> int:
    """Return the status that an error within a reply of status 200 stands for."""
    words, codes = said(body)
    for code in codes:
        if code.isdigit() and 400 <= int(code) < 600:
            return int(code)
    for name, status in _STATUS_OF.items():
        if any(name in code for code in codes):
            return status
    return 429 if _RATE_WORDS.search(words) else 500


def _meaning(status: int, codes: frozenset[str], words: str) -> Meaning:
    if codes & _QUOTA_CODES:
        return Meaning.FATAL
    if status == 429 and (_TOO_LARGE_WORDS.search(words) or codes & {"request_too_large"}):
        return Meaning.REJECTED
    if status not in (400, 403, 413, 422) and not (status == 500 and codes & _CONTEXT_CODES):
        return _MEANING_OF.get(status, Meaning.TRANSIENT if status >= 500 else Meaning.REJECTED)
    # It refuses the request for what is in it.
    too_large = _TOO_LARGE_FOR_PROMPT.search(words)
    fits = too_large is not None and int(too_large["asked"]) < int(too_large["context"])
    if not fits and _ARGUMENT_WORDS.search(words):
        return Meaning.FATAL
    if codes & _CONTEXT_CODES or (status != 403 and _CONTEXT_WORDS.search(words)):
        return Meaning.CONTEXT_LENGTH
    if codes & _POLICY_CODES or _POLICY_WORDS.search(words):
        return Meaning.CONTENT_POLICY
    return Meaning.STREAM_ONLY if _STREAM_WORDS.search(words) else Meaning.REJECTED


def said(body: bytes) -> tuple[str, frozenset[str]]:
    """Return the message of an error's body, and its codes."""
    try:
        content: Any = json.loads(body)
    except (ValueError, RecursionError):
        text = body[: 1 << 16].decode("utf-8", "replace")
        if text.lstrip().startswith("<"):  # a page, of a proxy or a firewall
            text = html.unescape(_MARKUP.sub(" ", text))
        return " ".join(text.split())[:500], frozenset()
    if isinstance(content, list) and len(content) == 1:
        content = content[0]  # Google's endpoint wraps its errors in a list
    if not isinstance(content, dict):
        return str(content)[:500], frozenset()
    error = next((content[name] for name in _NESTED if content.get(name)), content)
    if isinstance(error, list) and error:
        error = error[0]
    if isinstance(error, str):
        return error[:2000], frozenset()
    if not isinstance(error, dict):
        error = content
    inner = error.get("innererror")
    codes = [error.get(name) for name in ("code", "type", "status", "error_code", "status_code")]
    codes += [inner.get("code")] if isinstance(inner, dict) else []
    message = next((error[name] for name in _MESSAGES if error.get(name)), content)
    if isinstance(message, list):  # FastAPI's
        message = "; ".join(map(_invalid_field, message))
    return str(message)[:2000], frozenset(str(code).lower() for code in codes if code is not None)


_MARKUP = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
# Where errors are, and their messages in them.
_NESTED = ("error", "errors", "base_resp")
_MESSAGES = ("message", "detail", "msg", "error_msg", "error_message", "status_msg")


def error_in(content: Mapping[str, Any]) -> Any:
    """Return the error that a reply without an answer is; None where it says nothing of one."""
    return next((content for name in (*_NESTED, *_MESSAGES) if content.get(name)), None)


def _invalid_field(problem: Any) -> str:
    if not isinstance(problem, dict) or "msg" not in problem:
        return str(problem)
    return f"{'.'.join(map(str, problem.get('loc') or ()))}: {problem['msg']}"


def retry_after(headers: Mapping[str, str], *, status: int = 429, now: float) -> float | None:
    """Return the seconds that headers ask to wait, never negative; None when they ask nothing."""
    precise = _number(headers.get("retry-after-ms", ""))
    if precise is not None:
        return max(0.0, precise / 1000)
    asked = headers.get("retry-after")
    if asked is None:
        # Without it, what an endpoint says of a limit that is used up.
        limit = rate_headers(headers, now=now) if status == 429 else None
        return limit[2] if limit is not None and limit[1] <= 0 else None
    # By the endpoint's clock, where it is told, not ours.
    seconds = seconds_of(asked, now=_time_of(headers.get("date", "")) or now)
    return None if seconds is None else max(0.0, seconds)


def _time_of(date: str) -> float | None:
    """Return an HTTP date, in seconds since 1970."""
    import datetime  # noqa: PLC0415  on the path of failures only
    import email.utils  # noqa: PLC0415

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


def seconds_of(text: str, *, now: float) -> float | None:
    """Return a duration such as `6m0s`, `120ms` or `1.5`, in seconds.

    A date, and a number as large as `now` in seconds or milliseconds, is a time.
    """
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text.strip():
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    number = _number(text)
    if number is None:
        number = _time_of(text)
    if number is None or number < now / 2:
        return number
    return (number / 1000 if number > now * 500 else number) - now


def rate_headers(headers: Mapping[str, str], *, now: float) -> tuple[float, float, float] | None:
    """Return `(limit, remaining, seconds until reset)` of `x-ratelimit-*-requests`, or of
    `x-ratelimit-*`, when given."""
    end = "-requests" if "x-ratelimit-remaining-requests" in headers else ""
    if f"x-ratelimit-remaining{end}" not in headers:
        return None
    limit = _number(headers.get(f"x-ratelimit-limit{end}", ""))
    left = _number(headers[f"x-ratelimit-remaining{end}"])
    reset = seconds_of(headers.get(f"x-ratelimit-reset{end}", ""), now=now)
    if limit is None or left is None or reset is None:
        return None
    return limit, left, max(0.0, reset)


FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
LONGEST_WAIT = 86_400.0  # seconds: a day; what asks for more is no number of seconds


def delay_before(retry: int, failure: Failure, *, first: float = FIRST_DELAY) -> float:
    """Return seconds to wait before retry number `retry`, from 1.

    Exponential with full jitter: uniform from 0 to `first`·2^(retry-1), at most `LONGEST_DELAY`.
    What the endpoint asks for is waited as well, so that those who were refused together do not
    come back together.
    """
    backoff = random.uniform(0, min(LONGEST_DELAY, first * 2.0 ** (retry - 1)))
    asked = failure.retry_after or 0.0
    return backoff + (asked if asked <= LONGEST_WAIT else 0.0)
