"""What failed calls mean, however oddly an endpoint says it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nanoeval_solvers._api.failures import Meaning, failure_of, rate_headers, retry_after
from nanoeval_solvers._api.wire import MalformedReplyError, decode

DATE = "Mon, 23 Nov 2026 18:00:00 GMT"
NOW = 1795456800.0  # that date


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "1m30s"}, 90.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "?", "retry-after": "9"}, 9.0),
        ({"retry-after": "Mon, 23 Nov 2026 18:00:10 GMT", "date": DATE}, 10.0),
        ({"retry-after": "Mon, 23 Nov 2026 18:00:10 -0000", "date": DATE}, 10.0),
        ({"retry-after": "Mon, 23 Nov 2026 19:00:10 +0100", "date": DATE}, 10.0),
        ({"retry-after": "Monday, 23-Nov-26 18:00:10 GMT", "date": DATE}, 10.0),
        ({"retry-after": "Mon, 23 Nov 2026 17:00:00 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Mon, 23 Nov 2026 18:00:10 GMT"}, 10.0),
        ({"retry-after": "Mon, 23 Nov 2026 18:00:10 GMT", "date": "now"}, 10.0),
        ({"retry-after": "Mon, 23 Nov 99999 18:00:10 GMT", "date": DATE}, None),
    ],
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=NOW) == seconds


@pytest.mark.parametrize(
    ("body", "words", "kind"),
    [
        (b'{"error": {"message": "m", "innererror": "x"}}', "m", Meaning.OVERLOADED),
        (
            b'{"error": {"message": "m", "innererror": {"code": 1}}}',
            "m",
            Meaning.OVERLOADED,
        ),
        (
            b'[{"error": {"code": 429, "message": "exhausted"}}]',
            "exhausted",
            Meaning.OVERLOADED,
        ),
        (b'{"error": {"code": "insufficient_quota", "message": "m"}}', "m", Meaning.FATAL),
        (b'{"detail": "slow down"}', "slow down", Meaning.OVERLOADED),
        (b"<h1>Too many</h1>", "Too many", Meaning.OVERLOADED),
        (b"", "HTTP status 429", Meaning.OVERLOADED),
        (b"[" * 100_000, "[" * 500, Meaning.OVERLOADED),
        (b"\xff\xfe", "\ufffd\ufffd", Meaning.OVERLOADED),
    ],
)
def test_errors_of_all_shapes(body: bytes, words: str, kind: Meaning) -> None:
    failure = failure_of(429, {}, body, now=NOW)
    assert (failure.words, failure.meaning) == (words, kind)


def test_a_reply_nested_without_end_is_malformed() -> None:
    body = b'{"choices": ' + b"[" * 100_000
    with pytest.raises(MalformedReplyError):
        decode("chat", body)
    with pytest.raises(MalformedReplyError):
        decode("chat", b'{"extra": ' + b'{"a":' * 100_000)
    deep = b"[" * 900 + b"]" * 900  # as a parser takes it, and what reads it does not
    with pytest.raises(MalformedReplyError):
        decode("chat", b'{"choices": [{"message": {"reasoning_details": %b}}]}' % deep)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (("100", "0", "6m0s"), (100.0, 0.0, 360.0)),
        (("100", "0", "120ms"), (100.0, 0.0, 0.12)),
        (("100", "3", "1.5"), (100.0, 3.0, 1.5)),
        (("100", "0", "2026-11-23T18:00:00Z"), None),
        (("100", "", "1s"), None),
        (("inf", "0", "1s"), None),
        (("100, 100", "0", "1s"), None),
    ],
)
def test_rate_headers_are_read_or_left_alone(values: tuple[str, str, str], found: Any) -> None:
    names = ("limit", "remaining", "reset")
    headers = {
        f"x-ratelimit-{name}-requests": value for name, value in zip(names, values, strict=True)
    }
    assert rate_headers(headers, now=NOW) == found


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 418, 422, 429, 500, 503, 529, 302])
@pytest.mark.parametrize("content", [None, [], {}, "text", 3, {"error": []}, {"error": {}}])
def test_no_error_is_too_odd_to_be_understood(status: int, content: object) -> None:
    failure = failure_of(status, {}, json.dumps(content).encode(), now=NOW)
    assert failure.status == status
    assert failure.words


def test_a_reply_in_parts_is_its_text_without_its_thoughts() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "A? No."}]}
    parts = [thought, {"type": "text", "text": "Answer: "}, {"type": "text", "text": "B"}]
    body = {"choices": [{"message": {"role": "assistant", "content": parts}}]}
    assert decode("chat", json.dumps(body).encode()).text == "Answer: B"


def test_odd_numbers_of_tokens_are_no_reason_to_ask_again() -> None:
    usage = {"prompt_tokens": 3.0, "completion_tokens": -1}
    body = {"choices": [{"message": {"content": "B"}}], "usage": usage}
    reply = decode("chat", json.dumps(body).encode())
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (3, 0)
    assert isinstance(reply.usage.prompt_tokens, int)


@pytest.mark.parametrize("odd", [None, "nothing", {"token": None}, {"logprob": -1.0}])
def test_log_probabilities_next_to_an_odd_one_are_read(odd: object) -> None:
    def token(*top: object) -> dict[str, Any]:
        return {"token": "B", "logprob": -0.5, "bytes": [66], "top_logprobs": [*top]}

    usual = {"token": "B", "logprob": -0.5, "bytes": [66]}
    for tokens in ([token(usual)], [token(usual, odd), odd]):
        choice = {"message": {"content": "B"}, "logprobs": {"content": tokens}}
        part = {"type": "output_text", "text": "B", "logprobs": tokens}
        item = {"type": "message", "content": [part]}
        chat = decode("chat", json.dumps({"choices": [choice]}).encode())
        response = {"status": "completed", "output": [item]}
        responses = decode("responses", json.dumps(response).encode())
        assert chat.logprobs == responses.logprobs == (("B", -0.5, (("B", -0.5),)),)
