"""Requests and replies of the chat completions and responses APIs, as bytes. Pure.

What is looked at is read field by field from plain values, as far as it can be read: endpoints send
odd things along with an answer. `Reply.raw` has the bytes. The SDK's response models cost more than
the rest of a call.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
from nanoeval_core.usage import Usage

from nanoeval_solvers._api.failures import error_in
from nanoeval_solvers._api.model_fields import ModelFields
from nanoeval_solvers._templates import Message
from nanoeval_solvers.reply import Problem, Reply, TokenLogprobs, ToolCall
from nanoeval_solvers.tools import EMPTY, Tool, ToolChoice, tools_by_name

API = Literal["chat", "responses"]
_TEXT_TYPES = ("text", "output_text", "")
_REASONING = ("reasoning_content", "reasoning", "reasoning_details")  # by endpoint
PATHS: Mapping[API, str] = {"chat": "/chat/completions", "responses": "/responses"}

_encode = msgspec.json.Encoder().encode


def encode(body: Any) -> bytes:
    """Return `body` as JSON; a lone surrogate, which no UTF-8 has, is escaped."""
    try:
        return _encode(body)
    except UnicodeEncodeError:
        return json.dumps(body).encode()


class MalformedReplyError(Exception):
    """A reply of success that is not what the API promises."""


class FailedReplyError(Exception):
    """A reply of success that says it failed.

    Attributes:
        body: of the error, as a reply of that status would hold it.
    """

    def __init__(self, error: Any) -> None:
        super().__init__("the reply holds an error")
        self.body = json.dumps(error).encode()


# Requests.


def request_body(
    model: ModelFields,
    messages: Sequence[Message],
    params: Mapping[str, Any],
    tools: Sequence[Tool] = (),
    tool_choice: ToolChoice | None = None,
) -> dict[str, Any]:
    """Return the body of a request to the API of `model`; a field that is None is left out."""
    effort = model.reasoning_effort
    schemas = [tool.schema for tool in tools_by_name(tools).values()]
    choice: Any = tool_choice
    if tool_choice not in (None, "auto", "none", "required"):
        choice = {"type": "function", "function": {"name": tool_choice}}
    rest = {"temperature": model.temperature, "top_p": model.top_p, **params, **model.extra_body}
    body: dict[str, Any] = {"model": model.model}
    if model.api == "chat":
        body["messages"] = [_without(one, "output") if "output" in one else one for one in messages]
        # Reasoning models refuse the older name, other endpoints do not know the newer one.
        body["max_completion_tokens" if effort else "max_tokens"] = model.max_tokens
        body["reasoning_effort"] = effort
    else:
        body["input"] = [item for message in messages for item in _input_items(message)]
        body |= {"store": False, "max_output_tokens": model.max_tokens}
        if effort is not None:
            body["reasoning"] = {"effort": effort}
            if tools:
                # Nothing is stored there, so the thoughts between calls have to be sent back.
                body["include"] = ["reasoning.encrypted_content"]
        schemas = [{"type": "function", **one["function"], "strict": False} for one in schemas]
        if isinstance(choice, dict):
            choice = {"type": "function", **choice["function"]}
        response_format = rest.pop("response_format", None)
        if response_format is not None:
            schema = response_format["json_schema"]
            body["text"] = {"format": {"type": "json_schema", **schema}}
    body |= {"tools": schemas or None, "tool_choice": choice}
    return {name: value for name, value in (body | rest).items() if value is not None}


def _input_items(message: Message) -> list[dict[str, Any]]:
    """Return a message of a chat, as the responses API has it."""
    if "output" in message:
        output: list[dict[str, Any]] = message["output"]
        return output
    content = message.get("content")
    if message.get("role") == "tool":
        called = message.get("tool_call_id")
        return [{"type": "function_call_output", "call_id": called, "output": content}]
    calls = [
        {"type": "function_call", "call_id": call["id"]}
        | {name: call["function"][name] for name in ("name", "arguments")}
        for call in message.get("tool_calls") or ()
    ]
    if calls and not content:
        return calls
    plain = _without(message, "tool_calls", *_REASONING)
    if isinstance(content, list):
        plain["content"] = [
            {"type": "input_image", "image_url": part["image_url"]["url"]}
            if part["type"] == "image_url"
            else {"type": "input_text", "text": part["text"]}
            for part in content
        ]
    return [plain, *calls]


def _without(message: Message, *fields: str) -> Message:
    return {name: value for name, value in message.items() if name not in fields}


# Replies: what is read of them, in the types in which most endpoints send it.


class _Token(msgspec.Struct, gc=False):
    """A token and its log probability: a struct, as a reply may have ten thousand."""

    token: str
    logprob: float = -math.inf
    top_logprobs: list[_Token] | None = None


class _Logprobs(TypedDict, total=False):
    content: list[_Token] | None


class _Choice(TypedDict, total=False):
    message: Any
    text: Any
    finish_reason: Any
    logprobs: _Logprobs | None


class _Chat(TypedDict):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    model: NotRequired[Any]
    usage: NotRequired[Any]


class _Part(TypedDict, total=False):
    type: Any
    text: Any
    refusal: Any
    logprobs: list[_Token] | None


class _Item(TypedDict, total=False):
    type: Any
    content: list[_Part] | None
    summary: Any
    encrypted_content: Any
    call_id: Any
    name: Any
    arguments: Any
    extra_content: Any


class _Response(TypedDict):
    output: Annotated[list[_Item], msgspec.Meta(min_length=1)]
    status: NotRequired[Any]
    incomplete_details: NotRequired[Any]
    error: NotRequired[Any]
    model: NotRequired[Any]
    usage: NotRequired[Any]


_DECODE: Mapping[API, Callable[[bytes], Any]] = {
    "chat": msgspec.json.Decoder(_Chat).decode,
    "responses": msgspec.json.Decoder(_Response).decode,
}

# Why a reply ended, in the spellings of services: OpenAI, Gemini, Anthropic, DeepSeek, Zhipu, ….
_REFUSED = re.compile(
    r"content.?filter|safety|refus|sensitive|prohibited|blocklist|recitation|spii|guardrail|"
    r"moderation|content.?policy",
    re.IGNORECASE,
)
_BROKE_OFF = re.compile(
    r"error|abort|cancel|fail|interrupt|overload|insufficient_system_resource|timeout|timed_out",
    re.IGNORECASE,
)


def decode(api: API, raw: bytes, limit: int | None = None) -> Reply:
    """Return the reply in the body of a successful call, whole or streamed.

    Args:
        limit: goes into `Reply.limit`.

    Raises:
        FailedReplyError: it says that it failed.
        MalformedReplyError: it is no reply.
    """
    try:
        try:
            content = _DECODE[api](raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            content = _content(api, raw)
        return _reply(api, content, raw, limit)
    except RecursionError as error:
        raise _malformed(str(error), raw) from None


def _reply(api: API, content: dict[str, Any], raw: bytes, limit: int | None) -> Reply:
    choice = _dicts(content["choices"])[0] if api == "chat" else _choice_of(content)
    said = choice.get("message")
    if not isinstance(said, dict):
        said = {"content": choice.get("text")}
    text, reason = _text(said.get("content")), _text(choice.get("finish_reason"))
    thinking: list[Any] = []
    if text is None:  # parts, as Mistral's reasoning models have it
        parts = _dicts(said.get("content"))
        text = _joined(part for part in parts if (_text(part.get("type")) or "") in _TEXT_TYPES)
        thinking = [part.get("thinking") for part in parts if part.get("type") == "thinking"]
    if reason is not None and _BROKE_OFF.search(reason):  # half a text is no answer
        words = f"the reply broke off with finish_reason {reason!r} after {len(text)} characters"
        raise FailedReplyError({"message": words, "type": "server_error"})
    reasoning = {name: said[name] for name in _REASONING if said.get(name) is not None}
    thoughts = None
    if reasoning or thinking:
        thoughts = next(filter(None, map(_texts_in, (*reasoning.values(), thinking))), None)
    called = _dicts(said.get("tool_calls"))
    if not called and "function_call" in said:  # from before there were several
        called = [{"function": said["function_call"]}]
    called = [call for call in called if isinstance(call.get("function"), dict)]
    refusal = _text(said.get("refusal"))
    usage, calls = _usage(content.get("usage")), _tool_calls(called, raw) if called else ()
    logprobs = _logprobs(_dict(choice.get("logprobs")).get("content"))
    problem: Problem | None = None
    if (reason and _REFUSED.search(reason)) or (refusal and not text):
        problem = "content_policy"
    elif not (text.strip() or calls or thoughts or logprobs or usage.completion_tokens):
        problem = "empty"  # it said nothing at all, and spent nothing on it
    text = text or refusal or ""
    message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else EMPTY)}
    if calls:
        message["tool_calls"] = [_sent_back(*pair) for pair in zip(calls, called, strict=True)]
        message |= reasoning
        if api == "responses":
            message["output"] = [*_secrets(content), *_input_items(message)]
    return Reply(
        text=text,
        finish_reason=reason,
        problem=problem,
        model=_text(content.get("model")),
        usage=usage,
        logprobs=logprobs,
        tool_calls=calls,
        reasoning=thoughts,
        message=message,
        limit=limit,
        raw=raw,
    )


def _choice_of(response: dict[str, Any]) -> dict[str, Any]:
    """Return a reply of the responses API as a choice of chat completions."""
    parts = [part for one in _items(response, "message") for part in _dicts(one.get("content"))]
    thoughts = [
        part
        for one in _items(response, "reasoning")
        for part in _dicts(one.get("content")) or _dicts(one.get("summary"))
    ]
    called = _items(response, "function_call")
    status, error = _text(response.get("status")), response.get("error")
    reason = _text(_dict(response.get("incomplete_details")).get("reason"))
    if status == "failed" or (error and not (parts or called)):
        raise FailedReplyError({"error": error or {"message": "the response failed"}})
    if status is not None and _BROKE_OFF.search(status):
        reason = status
    if not (parts or called or reason or status in ("completed", None)):
        raise MalformedReplyError(f"the response has status {status!r} and no text")
    if reason is None and status == "completed":
        reason = "tool_calls" if called else "stop"
    message = {
        "content": [
            {"type": "thinking", "thinking": _joined(thoughts, between="\n\n")},
            {"type": "text", "text": _joined(parts)},
        ],
        "refusal": _joined(parts, "refusal"),
        "tool_calls": [{"id": item.get("call_id"), "function": item} for item in called],
    }
    logprobs = parts[0].get("logprobs") if parts else None
    return {
        "message": message,
        "finish_reason": reason or status,
        "logprobs": {"content": logprobs},
    }


def _sent_back(call: ToolCall, called: dict[str, Any]) -> dict[str, Any]:
    """Return a call as the next request has to hold it."""
    function = {"name": call.name or "unnamed", "arguments": json.dumps(call.arguments or {})}
    message = {"id": call.id, "type": "function", "function": function}
    signature = called.get("extra_content")  # Google's, of a thought
    return message if signature is None else message | {"extra_content": signature}


def _secrets(response: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the thoughts that a response hides, to be sent back without ids."""
    return [
        {"type": "reasoning", "summary": [], "encrypted_content": item["encrypted_content"]}
        for item in _items(response, "reasoning")
        if item.get("encrypted_content")
    ]


def _items(response: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [item for item in _dicts(response["output"]) if item.get("type") == kind]


def _tool_calls(called: Sequence[dict[str, Any]], raw: bytes) -> tuple[ToolCall, ...]:
    calls: dict[str, ToolCall] = {}
    for index, call in enumerate(called):
        # Made of the reply, so that a replay of it makes the same.
        own = _text(call.get("id")) or f"call_{hashlib.sha256(raw).hexdigest()[:12]}_{index}"
        while own in calls:
            own = f"{own}_{index}"
        function = call["function"]
        written = function.get("arguments")
        arguments, problem = parse_arguments(written)
        calls[own] = ToolCall(
            id=own,
            name=_text(function.get("name")) or "",
            arguments=arguments,
            problem=problem,
            text=written if isinstance(written, str) else json.dumps(written),
        )
    return tuple(calls.values())


def parse_arguments(written: Any) -> tuple[dict[str, Any] | None, str | None]:
    """Return the arguments of a call, or why they cannot be read.

    Beyond JSON objects: nothing at all means no arguments, an object written as a JSON text is
    that object, line breaks within texts and quotes after the end are overlooked.
    """
    value = written
    for _ in range(2):
        if not isinstance(value, str):
            break
        if not value.strip():
            return {}, None
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(text := value.strip())
        except (ValueError, RecursionError) as error:
            return None, f"the arguments are not valid JSON: {error}"
        if text[end:].strip("\"'` \t\r\n"):
            return None, f"the arguments are not valid JSON: text after their end: {text[end:]!r}"
    if value is None:
        return {}, None
    if not isinstance(value, dict):
        return None, f"the arguments must be a JSON object, not {json.dumps(value)[:100]}"
    return value, None


def _texts_in(value: Any) -> str:
    """Return all texts of a nested list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_texts_in(one) for one in value)
    if isinstance(value, dict):
        return _texts_in(value.get("text") or value.get("summary") or value.get("thinking"))
    return ""


def _usage(found: Any) -> Usage:
    """Return the tokens, as chat completions and as responses name them."""
    read = _dict(found)
    prompt = _dict(read.get("prompt_tokens_details") or read.get("input_tokens_details"))
    completion = _dict(read.get("completion_tokens_details") or read.get("output_tokens_details"))
    return Usage(
        requests=1,
        prompt_tokens=_whole(read.get("prompt_tokens") or read.get("input_tokens")),
        completion_tokens=_whole(read.get("completion_tokens") or read.get("output_tokens")),
        cached_tokens=_whole(prompt.get("cached_tokens", 0)),
        reasoning_tokens=_whole(completion.get("reasoning_tokens", 0)),
    )


def _whole(tokens: Any) -> int:
    """Return a number of tokens: some endpoints say 3.0, or -1 for one that they do not know."""
    number = _number(tokens)
    return int(number) if 0 < number < math.inf else 0


def _logprobs(found: Any) -> tuple[TokenLogprobs, ...] | None:
    if not isinstance(found, list):
        return None
    tokens = found if found and isinstance(found[0], _Token) else _tokens(found)
    return tuple(
        [
            TokenLogprobs(
                one.token,
                one.logprob,
                tuple([(top.token, top.logprob) for top in one.top_logprobs or ()]),
            )
            for one in tokens
        ]
    )


def _tokens(found: Any) -> list[_Token]:
    return [
        _Token(
            token["token"],
            _number(token.get("logprob"), -math.inf),
            _tokens(token.get("top_logprobs")),
        )
        for token in _dicts(found)
        if isinstance(token.get("token"), str)
    ]


# What can be read of a value, whatever it is. Tuples of classes: a union is built at
# each look, which took a fifth of the time that a reply took.


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, (int, float)) else None


def _number(value: Any, default: float = 0.0) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return default


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [one for one in value if isinstance(one, dict)]
    return [value] if value and isinstance(value, dict) else []


def _joined(parts: Iterable[dict[str, Any]], field: str = "text", between: str = "") -> str:
    return between.join(filter(None, (_text(part.get(field)) for part in parts)))


# The reply as plain values, from JSON or from a stream.


_END: dict[str, Any] = {}  # the event that ends a stream of chat completions
# Fields of a message that come in pieces; lists of parts are those of Mistral's reasoning models.
_IN_PIECES = ("content", "refusal", *_REASONING)


def _content(api: API, raw: bytes) -> dict[str, Any]:
    """Return an unusual reply, without errors.

    Streams are read, and what Python's JSON takes: NaN, bytes that are no UTF-8, a byte order mark.
    """
    try:
        content = _without_surrogates(_loaded(api, raw))
    except (ValueError, TypeError) as why:
        raise _malformed(str(why), raw) from None
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    if not isinstance(content, dict):
        raise _malformed("it is no object", raw)
    if not content.get("choices") and not content.get("output"):
        error = error_in(content)
        if error is not None:
            raise FailedReplyError(error)
    needed = "choices" if api == "chat" else "output"
    found = content.get(needed)
    if not isinstance(found, (list, dict)) or (api == "chat" and not _dicts(found)):
        raise _malformed(f"it has no {needed}", raw)
    return content


def _malformed(why: str, raw: bytes) -> MalformedReplyError:
    start = " ".join(raw[:200].decode("utf-8", "replace").split())
    return MalformedReplyError(f"the reply is malformed ({why[:200]}): {start!r}")


def _loaded(api: API, raw: bytes) -> Any:
    try:
        return json.loads(raw)  # which finds out whether it is UTF-8, 16 or 32
    except ValueError:
        text = raw.decode("utf-8-sig", "replace")
    try:
        return json.loads(text)
    except ValueError as no_json:
        events = list(_events(api, text))
        if not any(events):
            raise _malformed(f"neither JSON nor a stream: {no_json}", raw) from None
    return _streamed_chat(events) if api == "chat" else _streamed_response(events)


def _without_surrogates(value: Any) -> Any:
    """Return `value` with each lone surrogate, which no file can hold, replaced."""
    if isinstance(value, str):
        if value.isascii():
            return value
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(one) for one in value]
    if isinstance(value, dict):
        return {name: _without_surrogates(one) for name, one in value.items()}
    return value


def _events(api: API, text: str) -> Iterator[dict[str, Any]]:
    """Yield what a stream of events, or of lines of JSON, holds."""
    for line in re.split(r"\r\n|\r|\n", text):
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            yield _END
        elif data.startswith("{"):
            event = json.loads(data)
            error = error_in(event) if api == "chat" else event.get("error")
            if error is not None and not event.get("choices"):
                raise FailedReplyError(event)
            yield event


def _streamed_response(events: list[dict[str, Any]]) -> Any:
    for event in reversed(events):
        if event.get("type") == "error":
            raise FailedReplyError(event)
        if event.get("type") in ("response.completed", "response.incomplete", "response.failed"):
            return event.get("response")
    raise MalformedReplyError("the stream ended before the response was completed")


def _streamed_chat(events: list[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {}
    calls: list[dict[str, Any]] = []
    whole: dict[str, Any] = {"finish_reason": None, "message": message}
    logprobs: list[Any] = []
    top: dict[str, Any] = {"choices": [whole]}
    for event in events:
        top |= {name: event[name] for name in ("model", "usage") if event.get(name)}
        for choice in _dicts(event.get("choices"))[:1]:
            whole["finish_reason"] = choice.get("finish_reason") or whole["finish_reason"]
            logprobs += _dicts(_dict(choice.get("logprobs")).get("content"))
            delta = _dict(choice.get("delta") or choice.get("message"))
            for name in _IN_PIECES:
                piece, before = delta.get(name), message.get(name)
                if before and piece and type(before) is not type(piece):
                    before, piece = _as_parts(before), _as_parts(piece)
                if isinstance(piece, str | list):
                    message[name] = before + piece if before and piece else before or piece
            _add_to_calls(calls, _dicts(delta.get("tool_calls")))
    if calls:
        message["tool_calls"] = calls
    if logprobs:
        whole["logprobs"] = {"content": logprobs}
    if whole["finish_reason"] is None and not any(event is _END for event in events):
        raise MalformedReplyError("the stream ended before the reply did")
    return top


def _as_parts(said: Any) -> Any:
    return [{"type": "text", "text": said}] if isinstance(said, str) else said


def _add_to_calls(calls: list[dict[str, Any]], parts: list[dict[str, Any]]) -> None:
    for part in parts:
        index, function = part.get("index"), _dict(part.get("function"))
        call = next((one for one in reversed(calls) if index in (None, one["index"])), None)
        # Some endpoints repeat id and name with each part, or number parallel calls all alike.
        own = call.get("id") if call else None
        begins = part.get("id") and function.get("name") and own and own != part["id"]
        if call is None or begins:
            call = {"index": index, "function": {"name": "", "arguments": ""}}
            calls.append(call)
        call |= {name: part[name] for name in ("id", "extra_content") if part.get(name)}
        if function.get("name") != call["function"]["name"]:
            call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""
