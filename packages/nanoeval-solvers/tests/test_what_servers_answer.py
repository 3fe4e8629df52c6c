"""What servers really answer, each kind against a real one, directly and through a proxy."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from nanoeval_core.asyncio_utils import gather_results
from nanoeval_core.errors import ConfigError, RequestRejectedError, RolloutSystemError
from nanoeval_core.recorder import dummy_recorder
from nanoeval_core.run_context import RunContext, current_run_context
from nanoeval_solvers._api import client
from nanoeval_solvers._api.failures import delay_before
from nanoeval_solvers.api_model import APIModel
from nanoeval_solvers.reply import Reply
from nanoeval_solvers.testing import ModelServer, Request, Scripted

from tests.support import raw_server
from tests.support.raw_server import ANSWER, RawServer, chat, http
from tests.support.solver_attempts import Attempt

MESSAGES = [{"role": "user", "content": "A or B?"}]
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any) -> None:
    monkeypatch.setenv("NANOEVAL_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789abcdefghij")
    monkeypatch.setattr(client, "delay_before", partial(delay_before, first=0.01))
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer() as one:
        yield one


@pytest.fixture(params=["directly", "through a proxy"])
def url(request: Any, server: RawServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the server is asked. What is asked through a proxy is the whole URL."""
    if request.param == "directly":
        return server.url
    monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{server.port}")
    return "http://endpoint.test/v1"


def ask(url: str, **fields: Any) -> Attempt[Reply]:
    model = APIModel(**{"model": "m", "base_url": url, "max_retries": 0, **fields})
    return Attempt(model.ask(MESSAGES, sample="s"))


async def until(happened: Callable[[], bool]) -> None:
    while not happened():  # noqa: ASYNC110  it happens in another thread
        await asyncio.sleep(0.001)


def with_logprobs(value: str) -> str:
    top = f'[{{"token": "B", "logprob": {value}}}, {{"token": "A", "logprob": -2.0}}]'
    content = f'[{{"token": "B", "logprob": {value}, "top_logprobs": {top}}}]'
    return json.dumps(chat()).replace(
        '"finish_reason"', f'"logprobs": {{"content": {content}}}, "finish_reason"'
    )


def streamed(*events: object, done: bool = True, end: str = "\n\n") -> bytes:
    lines = [": keep waiting", *(f"data: {json.dumps(event)}" for event in events)]
    body = "".join(line + end for line in [*lines, *(["data: [DONE]"] if done else [])])
    return http(200, body, {"X-Kind": "text/event-stream"})


def delta(**fields: Any) -> dict[str, Any]:
    finish = fields.pop("finish_reason", None)
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def chunks(*parts: bytes, trailer: bytes = b"") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(part), part) for part in parts)
    return head + sent + b"0\r\n" + trailer + b"\r\n"


BODY = json.dumps(chat()).encode()
READ: dict[str, bytes] = {
    "plainly": http(200, chat()),
    "NaN log probabilities": http(200, with_logprobs("NaN")),
    "infinite log probabilities": http(200, with_logprobs("-Infinity")),
    "null log probabilities": http(200, with_logprobs("null")),
    "usage as text": http(200, chat(usage="3 tokens")),
    "usage as a list": http(200, chat(usage=[3, 2])),
    "usage with texts": http(200, chat(usage={"prompt_tokens": "3", "completion_tokens": None})),
    "no usage": http(200, chat(usage=None)),
    "an odd finish reason": http(200, chat(finish={"type": "stop"})),
    "no finish reason": http(200, chat(finish=None)),
    "a model that is a number": http(200, chat(model=7)),
    "a byte order mark": http(200, b"\xef\xbb\xbf" + BODY),
    "UTF-16": http(200, BODY.decode().encode("utf-16")),
    "infinitely many tokens": http(200, json.dumps(chat()).replace(": 3,", ": 1e999,")),
    "NaN tokens": http(200, json.dumps(chat()).replace(": 3,", ": NaN,")),
    "parts without a type": http(200, chat(None, message={"content": [{"text": ANSWER}]})),
    "a head without carriage returns": http(200, chat()).replace(b"\r\n", b"\n"),
    "blanks before": http(200, b"\n\n  " + BODY),
    "in a list": http(200, [chat()]),
    "bytes that are no UTF-8": http(200, BODY.replace(b'"m"', b'"\xff\xfe"')),
    "a choice with text alone": http(200, {"choices": [{"text": ANSWER}]}),
    "parts": http(200, chat(None, message={"content": [{"type": "text", "text": ANSWER}]})),
    "odd parts beside": http(
        200, chat(None, message={"content": [7, {"type": "text", "text": ANSWER}]})
    ),
    "odd tool calls beside": http(200, chat(message={"tool_calls": "none"})),
    "a null error beside": http(200, chat(error=None)),
    "a header of 9,000 bytes": http(200, chat(), {"X-Long": "x" * 9000}),
    "150 headers": http(200, chat(), {f"X-{n}": "x" for n in range(150)}),
    "gzip": http(200, gzip.compress(BODY), {"Content-Encoding": "gzip"}),
    "deflate": http(200, zlib.compress(BODY), {"Content-Encoding": "deflate"}),
    "raw deflate": http(200, zlib.compress(BODY)[2:-4], {"Content-Encoding": "deflate"}),
    "chunks": chunks(BODY[:10], BODY[10:11], BODY[11:]),
    "chunks and a trailer": chunks(BODY, trailer=b"X-Sum: 1\r\n"),
    "until the end of the connection": http(200, chat(), length=False) + RawServer.CLOSE,
    "HTTP/1.0": http(200, chat()).replace(b"HTTP/1.1", b"HTTP/1.0") + RawServer.CLOSE,
    "after going on": b"HTTP/1.1 100 Continue\r\n\r\n" + http(200, chat()),
    "a stream": streamed(delta(role="assistant"), delta(content="Ans"), delta(content="wer: B")),
    "a stream of parts": streamed(
        delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]),
        delta(content=[{"type": "text", "text": ANSWER}]),
    ),
    "gzip in two members": http(
        200, gzip.compress(BODY[:30]) + gzip.compress(BODY[30:]), {"Content-Encoding": "gzip"}
    ),
    "zlib, though it says gzip": http(200, zlib.compress(BODY), {"Content-Encoding": "gzip"}),
    "no coding of the transfer": http(200, chat(), {"Transfer-Encoding": "identity"}, length=False)
    + RawServer.CLOSE,
    "no gzip, though it says so": http(200, chat(), {"Content-Encoding": "gzip"}),
    "no reason": http(200, chat()).replace(b" Some Reason", b""),
    "a part that is no list": http(200, chat(None, message={"content": {"text": ANSWER}})),
    "201": http(201, chat()),
    "a stream of lines that end in CR": streamed(delta(content=ANSWER), end="\r\r"),
    "a stream without blank lines": streamed(
        delta(content="Ans"), delta(content="wer: B"), end="\n"
    ),
    "a stream with a byte order mark": http(
        200, "\ufeffdata: " + json.dumps(delta(content=ANSWER, finish_reason="stop")) + "\n\n"
    ),
    "lines of JSON": http(
        200,
        "\n".join(
            map(json.dumps, [delta(content="Ans"), delta(content="wer: B", finish_reason="x")])
        ),
    ),
    "a stream without an end mark": streamed(
        delta(content=ANSWER), delta(finish_reason="stop"), done=False
    ),
}


@pytest.mark.parametrize("reply", READ.values(), ids=READ)
def test_a_reply_that_says_its_answer_is_read(server: RawServer, url: str, reply: bytes) -> None:
    server.replies.append(reply)
    attempt = ask(url)
    assert attempt.result.text == ANSWER
    assert attempt.result.problem is None
    assert len(server.requests) == 1
    json.dumps(attempt.result.text).encode()


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + http(200, chat()),
        http(200, chat()) + b"more than its length",
    ],
)
def test_what_our_own_connections_read_beyond_aiohttp(server: RawServer, reply: bytes) -> None:
    server.replies.append(reply)
    assert ask(server.url).result.text == ANSWER


def test_lone_surrogates_are_replaced(server: RawServer) -> None:
    server.replies.append(http(200, json.dumps(chat("x \ud83d\ude00")).replace("x", r"\ud800")))
    text = ask(server.url).result.text
    assert text == "\ufffd 😀"
    text.encode()


REPEATED: dict[str, tuple[bytes, str]] = {
    "error": (http(200, chat("Half an", finish="error")), "'error' after 7 characters"),
    "abort": (http(200, chat("Half an", finish="abort")), "broke off"),
    "network_error": (http(200, chat("Half an", finish="network_error")), "broke off"),
    "no resources": (http(200, chat("", finish="insufficient_system_resource")), "broke off"),
    "an error within": (http(200, {"error": {"message": "oops", "code": 502}}), "oops"),
    "an error at the top": (http(200, {"code": "Throttling", "message": "slow"}), "slow"),
    "an overload within": (http(200, {"error": {"message": "o", "type": "overloaded_error"}}), "o"),
    "no choices": (http(200, {"choices": []}), "no choices"),
    "an error that is a text": (http(200, {"error": "Rate limit exceeded"}), "Rate limit exceeded"),
    "an error that is true": (http(200, {"error": True, "message": "it loads"}), "it loads"),
    "a detail": (http(200, {"detail": "it fell over"}), "it fell over"),
    "a message": (http(200, {"message": "too fast", "code": 429}), "too fast"),
    "several errors": (http(200, {"errors": [{"message": "the first"}]}), "the first"),
    "Baidu's": (http(200, {"error_code": 18, "error_msg": "qps limit reached"}), "qps limit"),
    "MiniMax's": (
        http(200, {"choices": None, "base_resp": {"status_code": 1002, "status_msg": "slow"}}),
        "slow",
    ),
    "overloaded": (http(200, chat("Half an", finish="overloaded")), "broke off"),
    "a detail in a stream": (streamed(delta(content="Half"), {"detail": "oops"}), "oops"),
    "a text in a stream": (streamed(delta(content="Half"), {"error": "oops"}), "oops"),
    "nothing at all": (b"HTTP/1.1 204 No Content\r\n\r\n", "neither JSON"),
    "br": (http(200, b"\x0b\x02", {"Content-Encoding": "br"}), ""),
    "a page": (http(200, "<html>Please wait</html>"), "neither JSON nor a stream"),
    "a text": (http(200, '"hello"'), "it is no object"),
    "nothing": (http(200, b""), "neither JSON"),
    "a stream cut off": (streamed(delta(content="Half"), done=False), "before the reply did"),
    "an empty event, then cut off": (
        streamed(delta(content="Half"), {}, done=False),
        "before the reply did",
    ),
    "a stream of nothing": (streamed(), "neither JSON nor a stream"),
    "an error in a stream": (streamed({"error": {"message": "oops"}}), "oops"),
    "420": (http(420, {"error": "calm"}), "calm"),
    "423": (http(423, {"error": "locked"}), "locked"),
    "424": (http(424, {"error": "dep"}), "dep"),
    "498": (http(498, {"error": "flex"}), "flex"),
    "499": (http(499, {"error": "closed"}), "closed"),
    "529": (http(529, {"error": "busy"}), "busy"),
    "cut off": (http(200, chat())[:-5] + RawServer.CLOSE, "cut off"),
    "cut off in chunks": (chunks(BODY)[:-5] + RawServer.CLOSE, "cut off"),
    "closed": (RawServer.CLOSE, "connection failed"),
    "reset": (RawServer.RESET, "connection failed"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n" + RawServer.CLOSE, ""),
    "damaged gzip": (http(200, gzip.compress(BODY)[:-40], {"Content-Encoding": "gzip"}), ""),
}


@pytest.mark.parametrize(("reply", "words"), REPEATED.values(), ids=REPEATED)
def test_a_failure_is_repeated_and_never_an_answer(
    server: RawServer, url: str, reply: bytes, words: str
) -> None:
    # The endpoint is there; then, on a new connection, it fails.
    server.replies.extend([http(200, chat(), {"Connection": "close"}) + RawServer.CLOSE, reply])
    model = APIModel(model="m", base_url=url, max_retries=1)

    async def work() -> Reply:
        async with model:
            await model.ask(MESSAGES, sample="first")
            return await model.ask(MESSAGES, sample="second")

    attempt = Attempt(work())
    assert attempt.result.text == ANSWER
    assert [words in extra["reason"] for extra in attempt.recorder.extras] == [True]
    assert len(server.requests) == 3


def test_an_empty_reply_is_repeated_once_and_then_counted(server: RawServer, url: str) -> None:
    server.replies.extend([http(200, chat("")), http(200, chat("")), http(200, chat(""))])
    attempt = ask(url)
    assert (attempt.result.problem, attempt.result.text) == ("empty", "")
    assert (len(server.requests), attempt.usage.requests, attempt.usage.retries) == (2, 1, 1)
    assert ask(url).result.text == ANSWER


def test_more_endpoints_are_first_asked_at_once_than_there_are_threads(server: RawServer) -> None:
    async def work() -> list[Reply]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        models = [APIModel(model="m", base_url=f"{server.url}/{n}") for n in range(6)]
        return await gather_results(*(model.ask(MESSAGES, sample="s") for model in models))

    assert [reply.text for reply in Attempt(work()).result] == [ANSWER] * 6


def test_tokens_are_read_under_either_name(server: RawServer) -> None:
    usage = {"prompt_tokens": None, "input_tokens": 4, "output_tokens": 3}
    server.replies.append(http(200, chat(usage=usage)))
    spent = ask(server.url).result.usage
    assert (spent.prompt_tokens, spent.completion_tokens) == (4, 3)


def test_a_response_that_was_cancelled_is_no_answer(server: RawServer) -> None:
    said = {"type": "message", "content": [{"type": "output_text", "text": "Half an"}]}
    response = {
        "status": "cancelled",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [said],
    }
    server.replies.append(http(200, response))
    with pytest.raises(RolloutSystemError, match="broke off with finish_reason 'cancelled'"):
        ask(server.url, api="responses")


def test_an_empty_reply_that_cost_tokens_is_a_reply(server: RawServer) -> None:
    server.replies.append(http(200, chat("", usage={"completion_tokens": 4})))
    assert ask(server.url).result.problem is None


def test_text_in_the_reasoning_alone_is_recorded_and_said(
    server: RawServer, caplog: pytest.LogCaptureFixture
) -> None:
    thinking = {"reasoning_content": "B, I think."}
    server.reply = http(200, chat("", finish="length", message=thinking))
    model = APIModel(model="m", base_url=server.url)

    async def work() -> list[Reply]:
        async with model:
            return [await model.ask(MESSAGES, sample=f"{n}") for n in range(12)]

    replies = Attempt(work()).result
    assert {(reply.text, reply.reasoning, reply.truncated) for reply in replies} == {
        ("", "B, I think.", True)
    }
    (said,) = [record for record in caplog.records if record.name == "nanoeval.api"]
    assert "10 of 10 replies of model 'm' hold their text in the reasoning" in said.getMessage()


@pytest.mark.parametrize(
    ("finish", "problem"),
    [
        ("content_filter", "content_policy"),
        ("SAFETY", "content_policy"),
        ("refusal", "content_policy"),
        ("sensitive", "content_policy"),
        ("content_filter: PROHIBITED_CONTENT", "content_policy"),
        ("RECITATION", "content_policy"),
        ("guardrail_intervened", "content_policy"),
        ("stop", None),
        ("eos", None),
    ],
)
def test_finish_reasons_that_are_refusals(server: RawServer, finish: str, problem: Any) -> None:
    server.replies.append(http(200, chat(finish=finish)))
    assert ask(server.url).result.problem == problem


def test_a_refusal_without_a_message(server: RawServer) -> None:
    server.replies.append(http(200, {"choices": [{"index": 0, "finish_reason": "SAFETY"}]}))
    assert ask(server.url).result.problem == "content_policy"


def _call(
    arguments: str, *, id: str | None = "c1", name: str | None = "add", index: int = 0
) -> Any:
    return {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    "parts",
    [
        [_call('{"a":1}'), _call('{"a":2}', id="c2")],  # all of them are number 0
        [_call('{"a"'), _call(":1}"), _call('{"a":2}', id="c2", index=1)],  # name and id again
        [_call('{"a"'), _call(":1}", id="c9", name=None), _call('{"a":2}', id="c2", index=1)],
        [_call('{"a"'), _call('{"a":2}', id="c2", index=1), _call(":1}", id="", name="")],
    ],
)
def test_calls_in_streams_that_number_and_name_them_oddly(
    server: RawServer, parts: list[Any]
) -> None:
    deltas = [delta(tool_calls=[part]) for part in parts]
    server.replies.append(streamed(*deltas, delta(finish_reason="tool_calls")))
    calls = ask(server.url, stream=True).result.tool_calls
    assert [(call.name, call.arguments) for call in calls] == [("add", {"a": 1}), ("add", {"a": 2})]


def test_a_call_of_no_function_is_no_call(server: RawServer) -> None:
    message = {"content": None, "tool_calls": [{"id": "c", "type": "custom", "custom": {}}]}
    server.replies.append(http(200, chat(message=message)))
    reply = ask(server.url).result
    assert reply.tool_calls == ()
    assert "tool_calls" not in reply.message


def test_what_a_stream_says_of_its_reasoning_is_sent_back_even_if_empty(server: RawServer) -> None:
    call = delta(tool_calls=[_call("{}")], finish_reason="tool_calls")
    server.replies.append(streamed(delta(content="", reasoning_content=""), call))
    assert ask(server.url, stream=True).result.message["reasoning_content"] == ""


def test_a_stream_of_text_and_then_of_parts(server: RawServer) -> None:
    parts = [{"type": "text", "text": "wer: B"}]
    server.replies.append(streamed(delta(content="Ans"), delta(content=parts)))
    assert ask(server.url, stream=True).result.text == ANSWER


@pytest.mark.parametrize("finish", ["length", "max_tokens", "MAX_TOKENS", "max_output_tokens"])
def test_finish_reasons_that_cut_off(server: RawServer, finish: str) -> None:
    server.replies.append(http(200, chat(finish=finish)))
    assert ask(server.url).result.truncated


TOO_LONG = [
    (
        400,
        "The input token count (1234567) exceeds the maximum number of tokens allowed (1048576).",
    ),
    (422, "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000"),
    (
        422,
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3000",
    ),
    (400, "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]"),
    (400, "Prompt length (4100) exceeds maximum input length (4096)."),
    (400, "default_max_tokens (-5) = max_seq_len (4096) - splited_prompt_len (4101)"),
    (400, "Please reduce the length of the messages or completion."),
    (400, "prompt is too long: 210000 tokens > 200000 maximum"),
    (400, "input length and `max_tokens` exceed context limit: 199000 + 8000 > 200000"),
    (400, "This model's maximum context length is 4097 tokens. However, you requested 5000"),
    (
        400,
        "'max_tokens' or 'max_completion_tokens' is too large: 3000. This model's maximum context "
        "length is 4096 tokens and your request has 2000 input tokens (3000 > 4096 - 2000).",
    ),
    (400, "The decoder prompt (length 5000) is longer than the maximum model length of 4096."),
    (400, "Prompt contains 40000 tokens, too large for model with 32768 maximum context length"),
    (400, "Invalid request: Your request exceeded model token limit: 8192"),
    (413, "context window exceeded"),
]


@pytest.mark.parametrize(("status", "words"), TOO_LONG)
def test_a_prompt_that_is_too_long_is_a_result(server: RawServer, status: int, words: str) -> None:
    server.replies.append(http(status, {"error": {"message": words, "code": status}}))
    assert ask(server.url).result.problem == "context_length"


REFUSED = [
    (400, {"message": "Input data may contain inappropriate content", "code": "data_inspection"}),
    (400, {"message": "x", "code": "DataInspectionFailed"}),
    (400, {"message": "Content Exists Risk"}),
    (400, {"message": "The request was rejected because it was considered high risk"}),
    (403, {"message": "Your chosen model requires moderation and your input was flagged"}),
    (400, {"message": "blocked: PROHIBITED_CONTENT"}),
    (400, {"message": "x", "code": "content_filter"}),
]


@pytest.mark.parametrize(("status", "error"), REFUSED)
def test_a_prompt_that_is_refused_is_a_result(
    server: RawServer, status: int, error: dict[str, str]
) -> None:
    server.replies.append(http(status, {"error": error}))
    assert ask(server.url).result.problem == "content_policy"
    server.replies.append(http(200, {"error": {**error, "status": status}}))
    within = Attempt(APIModel(model="m", base_url=server.url).ask(MESSAGES, sample="s"))
    assert within.result.problem == "content_policy" or within.result.text == ANSWER


WRONG_ARGUMENTS = [
    "max_tokens: Input should be less than or equal to 4096",
    "Unrecognized request argument supplied: top_k",
    "max_tokens is too large: 100000. This model supports at most 4096 completion tokens",
    "max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens",
    "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less "
    "than the `context_window` for this model",
    "Range of max_tokens should be [1, 8192]",
    "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
    "'max_tokens' or 'max_completion_tokens' is too large: 9000. This model's maximum context "
    "length is 4096 tokens and your request has 20 input tokens (9000 > 4096 - 20).",
]


@pytest.mark.parametrize("words", WRONG_ARGUMENTS)
def test_max_tokens_that_no_prompt_can_have_ends_the_run_at_once(
    server: RawServer, words: str
) -> None:
    server.replies.append(http(400, {"error": {"message": words}}))
    with pytest.raises(ConfigError, match="check the solver's arguments"):
        ask(server.url, max_tokens=100000)
    assert len(server.requests) == 1


REJECTIONS: dict[str, bytes] = {
    "a redirect": http(302, "", {"Location": "/login"}),
    "400": http(400, {"error": {"message": "messages[0] is odd"}}),
    "a firewall's page": http(403, "<html><title>Access denied</title>"),
    "413": http(413, "<html>Request Entity Too Large"),
    "422": http(422, {"detail": [{"msg": "odd"}]}),
    "a request too large": http(429, {"error": {"message": "Request too large for m on TPM"}}),
    "404": http(404, {"error": {"message": "no such thing"}}),
    "an error within": http(200, {"error": {"message": "odd", "code": 400}}),
}


def test_a_page_is_told_in_its_words(server: RawServer) -> None:
    page = "<html><style>p {color: red}</style><title>Access denied</title><p>Rule&nbsp;12</html>"
    server.replies.append(http(403, page))
    with pytest.raises(RolloutSystemError, match="403: Access denied Rule 12"):
        ask(server.url, max_retries=0)


def several(
    server: RawServer, replies: list[bytes], *, prompt: str | None = None, **fields: Any
) -> list[Any]:
    """What each of several calls gave, one after the other, each with a prompt of its own."""
    server.replies.extend(replies)
    model = APIModel(**{"model": "m", "base_url": server.url, "max_retries": 0, **fields})
    outcomes: list[Any] = []

    async def work() -> None:
        async with model:
            for n in range(len(replies)):
                try:
                    messages = [{"role": "user", "content": prompt or f"A or B? ({n})"}]
                    outcomes.append((await model.ask(messages, sample=f"{n}")).text)
                except (ConfigError, RolloutSystemError) as error:
                    outcomes.append(type(error))

    Attempt(work())
    return outcomes


NOTHING_THERE = ("a redirect", "404")


@pytest.mark.parametrize("rejection", REJECTIONS.values(), ids=REJECTIONS)
def test_one_rejected_request_is_not_the_end_where_others_are_served(
    server: RawServer, rejection: bytes
) -> None:
    good = http(200, chat())
    outcomes = several(server, [good, rejection, good])
    assert outcomes == [ANSWER, RequestRejectedError, ANSWER]
    assert not RequestRejectedError.retryable


@pytest.mark.parametrize("name", NOTHING_THERE)
def test_where_nothing_is_at_the_address_the_run_ends(server: RawServer, name: str) -> None:
    assert several(server, [REJECTIONS[name]]) == [ConfigError]


@pytest.mark.parametrize("name", [name for name in REJECTIONS if name not in NOTHING_THERE])
def test_where_none_is_served_the_run_ends(server: RawServer, name: str) -> None:
    ended = [RequestRejectedError] * 7 + [ConfigError] * 3
    assert several(server, [REJECTIONS[name]] * 10) == ended
    assert len(server.requests) == 8


@pytest.mark.parametrize("name", [name for name in REJECTIONS if name not in NOTHING_THERE])
def test_one_rejected_prompt_never_ends_a_run(server: RawServer, name: str) -> None:
    """Even if it is the first one, nothing else is in flight, and it is asked many times."""
    good = http(200, chat())
    bad = [REJECTIONS[name]] * 12
    assert several(server, bad, prompt="odd", seed=1) == [RequestRejectedError] * 12
    assert several(server, [bad[0], good, good]) == [RequestRejectedError, ANSWER, ANSWER]


def test_one_401_is_not_the_end_where_others_are_served(server: RawServer) -> None:
    odd = http(401, {"error": "no key, says a gateway"})
    assert several(server, [http(200, chat()), odd]) == [ANSWER, ANSWER]
    assert several(server, [odd]) == [ConfigError]


def test_a_number_alone_is_text(server: RawServer) -> None:
    server.replies.append(http(200, chat(None, message={"content": 42})))
    assert ask(server.url).result.text == "42"


def test_a_delay_within_an_error_is_waited_for(server: RawServer) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.3s"}
    server.replies.append(http(429, {"error": {"message": "slow", "details": [info]}}))
    (retry,) = ask(server.url, max_retries=1).recorder.extras
    assert retry["delay"] >= 0.3


def test_fail_on_error_says_how_many_are_too_many(server: RawServer) -> None:
    good, bad = http(200, chat()), REJECTIONS["400"]
    outcomes = several(server, [bad, good, bad, good, bad], fail_on_error=3)
    assert outcomes == [RequestRejectedError, ANSWER, RequestRejectedError, ANSWER, ConfigError]


def test_fail_on_error_may_be_a_share(server: RawServer) -> None:
    good, bad = http(200, chat()), REJECTIONS["400"]
    outcomes = several(server, [bad, *[good] * 97, bad, bad], fail_on_error=0.03)
    assert outcomes[0] is outcomes[98] is RequestRejectedError
    assert outcomes[99] is ConfigError


def test_fail_on_error_counts_over_all_clients_of_a_run(server: RawServer, tmp_path: Any) -> None:
    """As executors do, clients with a file of limits in common count together."""
    server.reply = REJECTIONS["400"]

    async def work() -> list[str]:
        context = RunContext(run_set_id="r", shared_dir=tmp_path, executor="main")
        current_run_context.set(context)
        outcomes = []
        # Another timeout is another client of the same endpoint and model.
        models = [
            APIModel(model="m", base_url=server.url, fail_on_error=4, timeout=seconds)
            for seconds in (60.0, 61.0)
        ]
        async with models[0], models[1]:
            for n in range(4):
                try:
                    await models[n % 2].ask(MESSAGES, sample=f"{n}")
                except (ConfigError, RolloutSystemError) as error:
                    outcomes.append(type(error).__name__)
        return outcomes

    assert Attempt(work()).result == ["RequestRejectedError"] * 3 + ["ConfigError"]


def test_calls_in_flight_decide_whether_a_first_rejection_ends_the_run(
    model_server: ModelServer,
) -> None:
    def reply(request: Request) -> Scripted:
        if request.prompt.startswith("odd"):
            return Scripted(status=400, text="odd")
        return Scripted(text="fine", latency=0.3)

    model_server.reply = reply
    model = APIModel(model="m", base_url=model_server.url, max_concurrency=8)

    async def one(prompt: str) -> str:
        try:
            return (await model.ask([{"role": "user", "content": prompt}], sample="s")).text
        except (ConfigError, RequestRejectedError) as error:
            return type(error).__name__

    async def work(prompts: list[str]) -> list[str]:
        async with model:
            return list(await gather_results(*(one(prompt) for prompt in prompts)))

    mixed = Attempt(work([f"odd {n}" for n in range(6)] + ["even"] * 2 + ["odd 7", "even"]))
    rejected = "RequestRejectedError"
    assert mixed.result == [rejected] * 6 + ["fine"] * 2 + [rejected, "fine"]
    model_server.requests.clear()
    assert set(Attempt(work([f"odd {n}" for n in range(50)])).result) == {"ConfigError"}
    assert len(model_server.requests) <= 16 + 8


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("told", [False, True])
def test_an_endpoint_that_only_streams_is_asked_for_streams(api: Any, told: bool) -> None:
    with ModelServer(reply=Scripted(text="The answer", reasoning="Hm.")) as server:
        server.stream_only = True
        attempt = ask(server.url, api=api, stream=told)
        assert (attempt.result.text, attempt.result.reasoning) == ("The answer", "Hm.")
        assert attempt.usage.completion_tokens == 2
        assert len(server.requests) == (1 if told else 2)


@pytest.mark.parametrize(
    "words",
    [
        "This model only support stream mode, please enable the stream parameter",
        "Non-streaming requests are not supported by this model",
        "Please set stream=true to use this model",
        "stream=false is not supported",
        "`stream` must be set to true",
    ],
)
def test_that_only_streams_are_served_is_understood(server: RawServer, words: str) -> None:
    server.replies.append(http(400, {"detail": words}))
    assert ask(server.url).result.text == ANSWER
    assert [body.get("stream") for _, body in server.requests] == [None, True]


def test_null_in_extra_body_takes_a_field_out(server: RawServer) -> None:
    ask(server.url, max_tokens=7, temperature=0.5, extra_body={"max_tokens": None, "k": 1})
    body = server.requests[0][1]
    assert body == {"model": "m", "messages": MESSAGES, "temperature": 0.5, "k": 1}
    ask(server.url, extra_body={"n": None})


@pytest.mark.parametrize("n", [2, "2", 1.5])
def test_more_than_one_reply_a_call_is_refused(n: Any) -> None:
    with pytest.raises(ConfigError, match=r"extra_body\['n'\]=.*: a call gives one reply"):
        APIModel(model="m", base_url="http://x/v1", extra_body={"n": n})
    model = APIModel(model="m", base_url="http://x/v1")
    with pytest.raises(ConfigError, match=r"params\['n'\]"):
        Attempt(model.ask(MESSAGES, sample="s", params={"n": n}))


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("sk-abc\u200bdef", "U+200B, ZERO WIDTH SPACE"),
        ("\ufeffsk-abc", "place 1 of 7: U+FEFF"),
        ("sk-abc def", "U+0020, SPACE"),
        ("sk-a\nbc", "a control character"),
        ("sk-abc–def", "EN DASH"),
    ],
)
def test_invisible_characters_in_a_key_are_named(
    monkeypatch: pytest.MonkeyPatch, key: str, said: str
) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(ConfigError, match="environment variable MY_KEY") as caught:
        ask("http://127.0.0.1:1/v1", api_key_env="MY_KEY")
    assert said in str(caught.value)
    assert "sk-a" not in str(caught.value)


def test_all_proxy_is_respected_and_no_proxy_too(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{server.port}")
    assert ask("http://endpoint.test/v1").result.text == ANSWER
    assert server.requests[0][0].startswith("POST http://endpoint.test/v1/chat/completions ")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert ask(server.url).result.text == ANSWER
    assert server.requests[1][0].startswith("POST /v1/chat/completions ")


def test_a_socks_proxy_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://me:hunter2@127.0.0.1:1080")
    with pytest.raises(
        ConfigError, match=r"ALL_PROXY names the proxy socks5://127\.0\.0\.1:1080"
    ) as e:
        ask("http://endpoint.test/v1")
    assert "only http and https proxies are supported" in str(e.value)
    assert "hunter2" not in str(e.value)


def test_a_dead_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer() as server:
        port = server.port
    monkeypatch.setenv("HTTP_PROXY", f"http://me:hunter2@127.0.0.1:{port}")
    with pytest.raises(
        RolloutSystemError, match=rf"the proxy http://127\.0\.0\.1:{port} cannot"
    ) as e:
        ask("http://endpoint.test/v1")
    assert "hunter2" not in str(e.value)


def test_connections_are_kept_and_a_closed_one_is_replaced(server: RawServer) -> None:
    closing = http(200, chat(), {"Connection": "close"}) + RawServer.CLOSE
    good = http(200, chat())
    assert several(server, [good] * 5) == [ANSWER] * 5
    assert server.connections == 1
    assert several(server, [closing, good, good + RawServer.CLOSE, good]) == [ANSWER] * 4
    assert len(server.requests) == 9


@pytest.mark.parametrize("transport", ["direct", "proxy"])
def test_a_reply_that_came_while_the_loop_was_blocked_is_in_time(
    server: RawServer, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    long = "x" * 3_000_000 + ANSWER
    server.reply = http(200, chat(long))
    url = server.url
    if transport == "proxy":
        monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{server.port}")
        url = "http://endpoint.test/v1"
    model = APIModel(model="m", base_url=url, timeout=2, max_retries=0)

    async def work() -> list[Reply]:
        async with model:
            await model.ask(MESSAGES, sample="first")
            calls = [asyncio.create_task(model.ask(MESSAGES, sample=f"{n}")) for n in range(4)]
            await until(lambda: len(server.requests) == 5)
            time.sleep(2.3)  # noqa: ASYNC251  the loop is blocked beyond the time of the calls
            return [await call for call in calls]

    assert [len(reply.text) for reply in Attempt(work()).result] == [len(long)] * 4


def test_a_call_without_a_reply_times_out(server: RawServer, url: str) -> None:
    server.replies.append(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    with pytest.raises(RolloutSystemError, match=r"no reply within 0\.2 s"):
        ask(url, timeout=0.2)


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "3600"},
        {"Retry-After": "{at:.0f}"},
        {"Retry-After": "{at_ms:.0f}"},
        {
            "X-RateLimit-Limit": "20",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": "{at_ms:.0f}",
        },
    ],
)
def test_an_hour_that_an_endpoint_asks_for_is_said_and_waited_for(
    server: RawServer, tmp_path: Any, headers: dict[str, str]
) -> None:
    at = time.time() + 3600
    headers = {name: value.format(at=at, at_ms=at * 1000) for name, value in headers.items()}
    server.replies.append(http(429, {"error": {"message": "come back later"}}, headers))
    gauges: dict[str, float | str] = {}

    async def work() -> bool:
        context = RunContext(run_set_id="r", shared_dir=tmp_path, executor="main", gauges=gauges)
        current_run_context.set(context)
        model = APIModel(model="m", base_url=server.url, max_retries=0, retry_seconds=10)
        call = asyncio.create_task(model.ask(MESSAGES, sample="s"))
        await until(lambda: "api" in gauges)
        waiting = not call.done()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        return waiting

    attempt = Attempt(work())
    assert attempt.result
    assert len(server.requests) == 1
    hours = {time.strftime("%H:%M", time.localtime(at + n)) for n in range(-60, 300, 30)}
    said = str(gauges["api"])
    assert said.startswith("the endpoint asks to wait until ")
    assert said[-5:] in hours
    (retry,) = attempt.recorder.extras
    assert 3500 < retry["delay"] < 3700


def test_a_pause_longer_than_calls_are_repeated_for_is_waited_for(server: RawServer) -> None:
    server.replies.append(http(429, {"error": "wait"}, {"Retry-After": "31"}))
    waits: list[float] = []
    original: Callable[..., Any] = asyncio.sleep

    async def no_time(seconds: float, *rest: Any) -> None:
        waits.append(seconds)
        await original(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "sleep", no_time)
        attempt = ask(server.url, max_retries=0, retry_seconds=5)
    assert attempt.result.text == ANSWER
    assert 31 <= max(waits) < 62


def test_why_nothing_moves_is_said_while_it_does_not(server: RawServer, tmp_path: Any) -> None:
    server.replies.extend([http(503, {"error": "no GPU is free."})] * 3)
    gauges: dict[str, float | str] = {}
    said: list[Any] = []

    class Kept(dict[str, float | str]):
        def __setitem__(self, name: str, value: float | str) -> None:
            if name == "api":
                said.append(value)
            super().__setitem__(name, value)

    gauges = Kept()

    async def work() -> Reply:
        context = RunContext(run_set_id="r", shared_dir=tmp_path, executor="main", gauges=gauges)
        current_run_context.set(context)
        model = APIModel(model="m", base_url=server.url)
        return await model.ask(MESSAGES, sample="s")

    assert Attempt(work()).result.text == ANSWER
    where = f"calls to {server.url}/chat/completions fail: HTTP status 503: no GPU is free"
    assert said == [where, f"{where}, repeated 2 times", f"{where}, repeated 3 times"]
    assert "api" not in gauges


CERTIFICATE = Path(raw_server.__file__).with_name("localhost.pem")


@pytest.fixture
def tls_server() -> Iterator[RawServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with RawServer(tls=context) as one:
        yield one


@pytest.mark.parametrize("reply", ["plainly", "gzip", "chunks", "until the end of the connection"])
def test_https_is_read_as_http_is(
    tls_server: RawServer, monkeypatch: pytest.MonkeyPatch, reply: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    tls_server.replies.append(READ[reply])
    assert ask(tls_server.url).result.text == ANSWER


def test_a_certificate_that_nobody_vouches_for_is_refused_in_words(tls_server: RawServer) -> None:
    with pytest.raises(RolloutSystemError, match=r"cannot connect: .*certificate verify failed"):
        ask(tls_server.url)
    assert tls_server.requests == []


def test_another_event_loop_does_as_well(model_server: ModelServer) -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not here: pip install uvloop")
    model_server.concurrency_limit, model_server.latency = 5, 0.2
    model = APIModel(model="m", base_url=model_server.url, max_retries=50)

    async def work() -> list[Reply]:
        with dummy_recorder():
            async with model:
                calls = [model.ask(MESSAGES, sample=f"{n}") for n in range(40)]
                return list(await gather_results(*calls))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert {reply.text for reply in runner.run(work())} == {"Answer: A"}
    assert model_server.refused > 0


def test_a_call_that_is_cancelled_as_its_reply_comes_leaves_no_connection(
    server: RawServer,
) -> None:
    """A connection left open is a ResourceWarning, and those are errors here."""
    model = APIModel(model="m", base_url=server.url)

    async def work() -> None:
        async with model:
            await model.ask(MESSAGES, sample="first")
            for passes in range(40):
                call = asyncio.create_task(model.ask(MESSAGES, sample="s"))
                for _ in range(passes):
                    await asyncio.sleep(0)
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)

    Attempt(work())
    gc.collect()
