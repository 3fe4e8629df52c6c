"""Requests and replies of the chat completions and responses APIs, as bytes. Pure.

Replies are decoded by msgspec into what is looked at and nothing else: the SDK's response models
cost more than the rest of a call. Where that strict reading fails, there is one lenient reading.
`Reply.raw` has the bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin

import msgspec
from nanoeval_core.usage import Usage

from nanoeval_solvers._api.failures import error_in
from nanoeval_solvers._api.model_fields import ModelFields
from nanoeval_solvers._templates import Message
from nanoeval_solvers.reply import Problem, Reply, TokenLogprobs, ToolCall
from nanoeval_solvers.tools import EMPTY, Tool, ToolChoice, tools_by_name

API = Literal["chat", "responses"]
PATHS: Mapping[API, str] = {"chat": "/chat/completions", "responses": "/responses"}

_encode = msgspec.json.Encoder().encode


def encode(body: Any) -> bytes:
    """Return `body` as JSON; a lone surrogate, which no UTF-8 has, is escaped."""
    try:
        return _encode(body)
    except UnicodeEncodeError:
        return json.dumps(body).encode()


class MalformedReplyError(ValueError):
    """A reply of success that is not what the API promises."""


class FailedReplyError(ValueError):
    """A reply of success that says it failed.

    Attributes:
        body: of the error, as a reply of that status would hold it.
    """

    def __init__(self, error: Any) -> None:
        super().__init__("the reply holds an error")
        self.body = json.dumps(error).encode()


# What is read of replies. Numbers of tokens are floats: some endpoints write 3.0.


class _Details(msgspec.Struct):
    cached_tokens: float | None = None
    reasoning_tokens: float | None = None


class _Usage(msgspec.Struct):
    """Tokens, as chat completions and as responses name them."""

    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _TokenLogprob(msgspec.Struct):
    token: str
    logprob: float = -math.inf
    top_logprobs: list[_TokenLogprob] | None = None


class _Logprobs(msgspec.Struct):
    content: list[_TokenLogprob] | None = None


_TEXT_TYPES = ("text", "output_text", "")


class _Part(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: Any = None
    refusal: str | None = None
    logprobs: list[_TokenLogprob] | None = None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class _ChatCall(msgspec.Struct):
    id: str | None = None
    function: _Function | None = None
    extra_content: Any = None  # Google's signature of a thought, which has to be sent back


class _ChatMessage(msgspec.Struct):
    content: str | list[_Part] | None = None  # parts: Mistral's reasoning models
    refusal: str | None = None
    tool_calls: list[_ChatCall] | None = None
    function_call: _Function | None = None  # before there were several
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None

    @property
    def text(self) -> str:
        """What was said, without thoughts."""
        if isinstance(self.content, list):
            return "".join(part.text or "" for part in self.content if part.type in _TEXT_TYPES)
        return self.content or ""

    @property
    def thoughts(self) -> str | None:
        """The reasoning, in whichever field an endpoint puts it."""
        for field in (self.reasoning_content, self.reasoning):
            if isinstance(field, str) and field:
                return field
        found = _texts_in(self.reasoning_details)
        if not found and isinstance(self.content, list):
            found = _texts_in([part.thinking for part in self.content if part.type == "thinking"])
        return found or None


class _ChatChoice(msgspec.Struct):
    message: _ChatMessage | None = None
    text: str | None = None  # where there is no message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Chat(msgspec.Struct):
    choices: list[_ChatChoice]
    error: Any = None
    model: str | None = None
    usage: _Usage | None = None


class _Item(msgspec.Struct):
    type: str = ""
    content: list[_Part] | None = None
    summary: list[_Part] | None = None
    encrypted_content: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: Any = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Responses(msgspec.Struct):
    output: list[_Item]
    model: str | None = None
    status: str | None = None
    incomplete_details: _Incomplete | None = None
    error: Any = None
    usage: _Usage | None = None


_decode_chat = msgspec.json.Decoder(_Chat).decode
_decode_responses = msgspec.json.Decoder(_Responses).decode


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
    named = tool_choice not in (None, "auto", "none", "required")
    rest = {"temperature": model.temperature, "top_p": model.top_p, **params, **model.extra_body}
    body: dict[str, Any] = {"model": model.model}
    if model.api == "chat":
        body["messages"] = [_without(one, "output") if "output" in one else one for one in messages]
        # Reasoning models refuse the older name, other endpoints do not know the newer one.
        body["max_completion_tokens" if effort else "max_tokens"] = model.max_tokens
        body["reasoning_effort"] = effort
        if named:
            choice = {"type": "function", "function": {"name": tool_choice}}
        body |= {"tools": schemas or None, "tool_choice": choice}
    else:
        body["input"] = [item for message in messages for item in _input_items(message)]
        body |= {"store": False, "max_output_tokens": model.max_tokens}
        if effort is not None:
            body["reasoning"] = {"effort": effort}
            if tools:
                # Nothing is stored there, so the thoughts between calls have to be sent back.
                body["include"] = ["reasoning.encrypted_content"]
        schemas = [{"type": "function", **one["function"], "strict": False} for one in schemas]
        if named:
            choice = {"type": "function", "name": tool_choice}
        body |= {"tools": schemas or None, "tool_choice": choice}
        response_format = rest.pop("response_format", None)
        if response_format is not None:
            schema = response_format["json_schema"]
            body["text"] = {"format": {"type": "json_schema", **schema}}
    return {name: value for name, value in (body | rest).items() if value is not None}


def _input_items(message: Message) -> list[dict[str, Any]]:
    """Return a message of a chat, as the responses API has it."""
    if "output" in message:
        output: list[dict[str, Any]] = message["output"]
        return output
    if message.get("role") == "tool":
        called = message.get("tool_call_id")
        content = message.get("content")
        return [{"type": "function_call_output", "call_id": called, "output": content}]
    calls = [
        {
            "type": "function_call",
            "call_id": call["id"],
            "name": call["function"]["name"],
            "arguments": call["function"]["arguments"],
        }
        for call in message.get("tool_calls") or ()
    ]
    plain = _without(message, "tool_calls", "reasoning_content", "reasoning", "reasoning_details")
    content = _parts(message.get("content"))
    return [*([{**plain, "content": content}] if content or not calls else []), *calls]


def _parts(content: Any) -> Any:
    """Return the content of a chat message, as the responses API has it."""
    if not isinstance(content, list):
        return content
    return [
        {"type": "input_image", "image_url": part["image_url"]["url"]}
        if part["type"] == "image_url"
        else {"type": "input_text", "text": part["text"]}
        for part in content
    ]


def _without(message: Message, *fields: str) -> Message:
    return {name: value for name, value in message.items() if name not in fields}


# Replies.


def decode(api: API, raw: bytes, limit: int | None = None) -> Reply:
    """Return the reply in the body of a successful call, whole or streamed.

    Args:
        limit: goes into `Reply.limit`.

    Raises:
        FailedReplyError: it says that it failed.
        MalformedReplyError: it is no reply.
    """
    try:
        if api == "chat":
            return _chat_reply(_decode_chat(raw), raw, limit)
        return _responses_reply(_decode_responses(raw), raw, limit)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _decode_leniently(api, raw, limit)


def _decode_leniently(api: API, raw: bytes, limit: int | None) -> Reply:
    """Return the second reading: each field that can be read, without those that cannot.

    It takes what Python's JSON takes (NaN, bytes that are no UTF-8, a byte order mark) and streams.
    """
    try:
        try:
            content = json.loads(raw)  # which finds out whether it is UTF-8, 16 or 32
        except ValueError:
            text = raw.decode("utf-8-sig", "replace")
            try:
                content = json.loads(text)
            except ValueError as no_json:
                content = _streamed(api, text, no_json)
        content = _without_surrogates(content)
        if isinstance(content, list) and len(content) == 1:
            content = content[0]
        if not isinstance(content, dict):
            raise MalformedReplyError(_malformed("it is no object", raw))
        if not content.get("choices") and not content.get("output"):
            error = error_in(content)
            if error is not None:
                raise FailedReplyError(error)
        if api == "chat":
            return _chat_reply(_leniently(_Chat, content), raw, limit)
        return _responses_reply(_leniently(_Responses, content), raw, limit)
    except (ValueError, TypeError, RecursionError) as error:
        if isinstance(error, FailedReplyError | MalformedReplyError):
            raise
        raise MalformedReplyError(_malformed(str(error), raw)) from None


def _malformed(why: str, raw: bytes) -> str:
    start = " ".join(raw[:200].decode("utf-8", "replace").split())
    return f"the reply is malformed ({why[:200]}): {start!r}"


_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def _leniently(kind: type[_Struct], content: Mapping[str, Any]) -> _Struct:
    """Return a struct of the fields that can be read; the others have their defaults.

    Raises:
        MsgspecError: a field that is needed cannot be read.
    """
    found = {
        field.name: value
        for field in msgspec.structs.fields(kind)
        if field.name in content
        and (value := _value(field.type, content[field.name])) is not msgspec.UNSET
    }
    for field in msgspec.structs.fields(kind):
        if field.required and field.name not in found:
            raise msgspec.ValidationError(f"it has no {field.name}")
    return kind(**found)


def _value(kind: Any, content: Any) -> Any:
    """Return `content` as `kind`, or UNSET."""
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if str in kinds and isinstance(content, int | float):
        return str(content)
    for one in kinds:
        if isinstance(content, dict) and isinstance(one, type) and issubclass(one, msgspec.Struct):
            with contextlib.suppress(msgspec.MsgspecError):
                return _leniently(one, content)
        elif isinstance(content, list | dict) and get_origin(one) is list:
            content = [content] if isinstance(content, dict) else content
            items = [_value(get_args(one)[0], item) for item in content]
            return [item for item in items if item is not msgspec.UNSET]
        else:
            with contextlib.suppress(msgspec.MsgspecError):
                return msgspec.convert(content, one, strict=False)
    return msgspec.UNSET


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


# Streams.


def _streamed(api: API, text: str, why_no_json: ValueError) -> Any:
    """Return the whole reply that a stream of events, or of lines of JSON, makes up."""
    events: list[dict[str, Any]] = []
    ended = False
    for line in re.split(r"\r\n|\r|\n", text):
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            ended = True
        elif data.startswith("{"):
            event = json.loads(data)
            error = error_in(event) if api == "chat" else event.get("error")
            if error is not None and not event.get("choices"):
                raise FailedReplyError(event)
            events.append(event)
    if not events:
        why = f"neither JSON nor a stream: {why_no_json}"
        raise MalformedReplyError(_malformed(why, text.encode("utf-8", "replace")))
    return _streamed_response(events) if api == "responses" else _streamed_chat(events, ended)


def _streamed_response(events: list[dict[str, Any]]) -> Any:
    for event in reversed(events):
        if event.get("type") == "error":
            raise FailedReplyError(event)
        if event.get("type") in ("response.completed", "response.incomplete", "response.failed"):
            return event.get("response")
    raise MalformedReplyError("the stream ended before the response was completed")


def _streamed_chat(events: list[dict[str, Any]], ended: bool) -> dict[str, Any]:
    message: dict[str, Any] = {}
    calls: list[dict[str, Any]] = []
    whole: dict[str, Any] = {"finish_reason": None, "message": message}
    logprobs: list[Any] = []
    top: dict[str, Any] = {"choices": [whole]}
    for event in events:
        top |= {name: event[name] for name in ("model", "usage", "error") if event.get(name)}
        for choice in (event.get("choices") or [])[:1]:
            whole["finish_reason"] = choice.get("finish_reason") or whole["finish_reason"]
            logprobs += (choice.get("logprobs") or {}).get("content") or []
            delta = choice.get("delta") or choice.get("message") or {}
            for name in ("content", "refusal", "reasoning_content", "reasoning"):
                if isinstance(delta.get(name), str):
                    message[name] = message.get(name, "") + delta[name]
            if isinstance(delta.get("content"), list):  # Mistral's reasoning models
                message["content"] = [*(message.get("content") or []), *delta["content"]]
            message.setdefault("reasoning_details", []).extend(delta.get("reasoning_details") or [])
            _add_to_calls(calls, delta.get("tool_calls") or [])
    if not message.get("reasoning_details"):
        message.pop("reasoning_details", None)
    if calls:
        message["tool_calls"] = calls
    if logprobs:
        whole["logprobs"] = {"content": logprobs}
    if not ended and whole["finish_reason"] is None:
        raise MalformedReplyError("the stream ended before the reply did")
    return top


def _add_to_calls(calls: list[dict[str, Any]], parts: list[dict[str, Any]]) -> None:
    for part in parts:
        index, function = part.get("index"), part.get("function") or {}
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


def _check_finished(reason: str | None, text: str) -> None:
    """Raise FailedReplyError when the endpoint broke off: half a text is no answer."""
    if reason is not None and _BROKE_OFF.search(reason):
        words = f"the reply broke off with finish_reason {reason!r} after {len(text)} characters"
        raise FailedReplyError({"message": words, "type": "server_error"})


def _chat_reply(chat: _Chat, raw: bytes, limit: int | None) -> Reply:
    if not chat.choices:
        if chat.error:
            raise FailedReplyError({"error": chat.error})
        raise MalformedReplyError("the reply has no choices")
    choice = chat.choices[0]
    message = choice.message or _ChatMessage(content=choice.text)
    _check_finished(choice.finish_reason, message.text)
    called = message.tool_calls or []
    if message.function_call is not None and not called:
        called = [_ChatCall(function=message.function_call)]
    made = [(one, one.function) for one in called if one.function]
    said = _Said(
        text=message.text,
        refusal=message.refusal or "",
        reason=choice.finish_reason,
        thoughts=message.thoughts,
        logprobs=choice.logprobs.content if choice.logprobs is not None else None,
        called=[(call.id, function.name, function.arguments) for call, function in made],
    )
    reply = _reply(said, chat, raw, limit)
    if made:
        for sent, (call, _) in zip(reply.message["tool_calls"], made, strict=True):
            if call.extra_content is not None:
                sent["extra_content"] = call.extra_content
        for name in ("reasoning_content", "reasoning", "reasoning_details"):
            if getattr(message, name) is not None:
                reply.message[name] = getattr(message, name)
    return reply


def _responses_reply(response: _Responses, raw: bytes, limit: int | None) -> Reply:
    parts = [
        part for item in response.output if item.type == "message" for part in item.content or ()
    ]
    text = "".join(part.text for part in parts if part.text)
    thoughts = [
        part.text
        for item in response.output
        if item.type == "reasoning"
        for part in (item.content or item.summary or ())
        if part.text
    ]
    called = [item for item in response.output if item.type == "function_call"]
    reason = response.incomplete_details.reason if response.incomplete_details else None
    if response.status == "failed" or (response.error and not (parts or called)):
        raise FailedReplyError({"error": response.error or {"message": "the response failed"}})
    _check_finished(response.status, text)
    if not (parts or called) and reason is None and response.status not in ("completed", None):
        raise MalformedReplyError(f"the response has status {response.status!r} and no text")
    if reason is None and response.status == "completed":
        reason = "tool_calls" if called else "stop"
    said = _Said(
        text=text,
        refusal="".join(part.refusal for part in parts if part.refusal),
        reason=reason or response.status,
        thoughts="\n\n".join(thoughts) or None,
        logprobs=parts[0].logprobs if parts else None,
        called=[(one.call_id, one.name, one.arguments) for one in called],
    )
    reply = _reply(said, response, raw, limit)
    if called:
        # Its items, to be sent back without ids: nothing is stored there.
        secret = [
            {"type": "reasoning", "summary": [], "encrypted_content": item.encrypted_content}
            for item in response.output
            if item.type == "reasoning" and item.encrypted_content
        ]
        reply.message["output"] = [*secret, *_input_items(reply.message)]
    return reply


class _Said(NamedTuple):
    """What either API replied: why it ended, and of each call its id, name and arguments."""

    text: str
    refusal: str
    reason: str | None
    thoughts: str | None
    logprobs: list[_TokenLogprob] | None
    called: list[tuple[str | None, str | None, Any]]


def _reply(said: _Said, read: _Chat | _Responses, raw: bytes, limit: int | None) -> Reply:
    usage = _usage(read.usage)
    text, calls = said.text or said.refusal, _tool_calls(said.called, raw)
    problem: Problem | None = None
    if (said.reason and _REFUSED.search(said.reason)) or (said.refusal and not said.text):
        problem = "content_policy"
    elif not (text.strip() or calls or said.thoughts or said.logprobs or usage.completion_tokens):
        problem = "empty"  # it said nothing at all, and spent nothing on it
    message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else EMPTY)}
    if calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name or "unnamed",
                    "arguments": json.dumps(call.arguments or {}),
                },
            }
            for call in calls
        ]
    return Reply(
        text=text,
        finish_reason=said.reason,
        problem=problem,
        model=read.model,
        usage=usage,
        logprobs=_logprobs(said.logprobs),
        tool_calls=calls,
        reasoning=said.thoughts,
        message=message,
        limit=limit,
        raw=raw,
    )


def _tool_calls(
    called: Sequence[tuple[str | None, str | None, Any]], raw: bytes
) -> tuple[ToolCall, ...]:
    calls: list[ToolCall] = []
    ids: set[str] = set()
    for index, (named, name, written) in enumerate(called):
        # Made of the reply, so that a replay of it makes the same.
        own = named or f"call_{hashlib.sha256(raw).hexdigest()[:12]}_{index}"
        if own in ids:
            own = f"{own}_{index}"
        ids.add(own)
        arguments, problem = parse_arguments(written)
        text = written if isinstance(written, str) else json.dumps(written)
        calls.append(
            ToolCall(id=own, name=name or "", arguments=arguments, problem=problem, text=text)
        )
    return tuple(calls)


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


def _usage(read: _Usage | None) -> Usage:
    usage = Usage(requests=1)
    if read is not None:
        prompt, completion = read.prompt_tokens, read.completion_tokens
        usage.prompt_tokens = _whole(read.input_tokens if prompt is None else prompt)
        usage.completion_tokens = _whole(read.output_tokens if completion is None else completion)
        if details := read.prompt_tokens_details or read.input_tokens_details:
            usage.cached_tokens = _whole(details.cached_tokens)
        if details := read.completion_tokens_details or read.output_tokens_details:
            usage.reasoning_tokens = _whole(details.reasoning_tokens)
    return usage


def _whole(tokens: float | None) -> int:
    """Return a number of tokens: some endpoints say -1 for one that they do not know."""
    return max(0, int(tokens)) if tokens is not None and math.isfinite(tokens) else 0


def _logprobs(tokens: list[_TokenLogprob] | None) -> tuple[TokenLogprobs, ...] | None:
    if tokens is None:
        return None
    return tuple(
        TokenLogprobs(
            token=token.token,
            logprob=token.logprob,
            top=tuple((top.token, top.logprob) for top in token.top_logprobs or ()),
        )
        for token in tokens
    )
