"""Requests and replies of the chat completions and responses APIs, as bytes. Pure.

Replies are decoded by msgspec into what is looked at and nothing else: the SDK's response models
cost more than the rest of a call. `Reply.raw` has the bytes for who wants them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from nanoeval_core.usage import Usage

from nanoeval_solvers._templates import Message
from nanoeval_solvers.reply import Reply, TokenLogprobs

API = Literal["chat", "responses"]
PATHS: Mapping[API, str] = {"chat": "/chat/completions", "responses": "/responses"}

encode = msgspec.json.Encoder().encode


class _Details(msgspec.Struct):
    cached_tokens: float | None = None
    reasoning_tokens: float | None = None


class _ChatUsage(msgspec.Struct):
    prompt_tokens: float | None = None  # some endpoints write 3.0
    completion_tokens: float | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _TopLogprob(msgspec.Struct):
    token: str
    logprob: float


class _TokenLogprob(msgspec.Struct):
    token: str
    logprob: float
    top_logprobs: list[_TopLogprob] | None = None


class _Logprobs(msgspec.Struct):
    content: list[_TokenLogprob] | None = None


class _TextPart(msgspec.Struct):
    type: str = ""
    text: str | None = None


class _ChatMessage(msgspec.Struct):
    content: str | list[_TextPart] | None = None  # parts: Mistral's reasoning models
    refusal: str | None = None

    @property
    def text(self) -> str:
        """What was said, without thoughts."""
        if isinstance(self.content, list):
            return "".join(part.text or "" for part in self.content if part.type == "text")
        return self.content or ""


class _ChatChoice(msgspec.Struct):
    message: _ChatMessage
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Chat(msgspec.Struct):
    choices: list[_ChatChoice]
    model: str | None = None
    usage: _ChatUsage | None = None


class _ResponsesUsage(msgspec.Struct):
    input_tokens: float | None = None
    output_tokens: float | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Part(msgspec.Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    logprobs: list[_TokenLogprob] | None = None


class _Item(msgspec.Struct):
    type: str = ""
    content: list[_Part] | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Responses(msgspec.Struct):
    output: list[_Item]
    model: str | None = None
    status: str | None = None
    incomplete_details: _Incomplete | None = None
    usage: _ResponsesUsage | None = None


_decode_chat = msgspec.json.Decoder(_Chat).decode
_decode_responses = msgspec.json.Decoder(_Responses).decode


class MalformedReplyError(ValueError):
    """A reply of success that is not what the API promises."""


def chat_body(
    messages: Sequence[Message],
    *,
    model: str,
    max_tokens: int | None,
    reasoning_effort: str | None,
    params: Mapping[str, Any],
) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "messages": messages}
    if max_tokens is not None:
        # Reasoning models refuse the older name, other endpoints do not know the newer one.
        body["max_completion_tokens" if reasoning_effort else "max_tokens"] = max_tokens
    if reasoning_effort is not None:
        body["reasoning_effort"] = reasoning_effort
    return body | dict(params)


def responses_body(
    messages: Sequence[Message],
    *,
    model: str,
    max_tokens: int | None,
    reasoning_effort: str | None,
    params: Mapping[str, Any],
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "input": [{**message, "content": _parts(message["content"])} for message in messages],
        "store": False,
    }
    if max_tokens is not None:
        body["max_output_tokens"] = max_tokens
    if reasoning_effort is not None:
        body["reasoning"] = {"effort": reasoning_effort}
    rest = dict(params)
    response_format = rest.pop("response_format", None)
    if response_format is not None:
        schema = response_format["json_schema"]
        body["text"] = {"format": {"type": "json_schema", **schema}}
    return body | rest


def _parts(content: Any) -> Any:
    """The content of a chat message, as the responses API has it."""
    if isinstance(content, str):
        return content
    return [
        {"type": "input_image", "image_url": part["image_url"]["url"]}
        if part["type"] == "image_url"
        else {"type": "input_text", "text": part["text"]}
        for part in content
    ]


def decode(api: API, raw: bytes) -> Reply:
    """The reply in the body of a successful call.

    Raises:
        MalformedReplyError: it is no reply.
    """
    try:
        return _chat_reply(raw) if api == "chat" else _responses_reply(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        start = " ".join(raw[:200].decode("utf-8", "replace").split())
        raise MalformedReplyError(f"the reply is malformed ({error}): {start!r}") from None


def _chat_reply(raw: bytes) -> Reply:
    chat = _decode_chat(raw)
    if not chat.choices:
        raise MalformedReplyError("the reply has no choices")
    choice = chat.choices[0]
    message = choice.message
    refused = choice.finish_reason == "content_filter" or (message.refusal and not message.text)
    usage = Usage(requests=1)
    if chat.usage is not None:
        count(usage, chat.usage.prompt_tokens, chat.usage.completion_tokens)
        details(usage, chat.usage.prompt_tokens_details, chat.usage.completion_tokens_details)
    logprobs = choice.logprobs.content if choice.logprobs is not None else None
    return Reply(
        text=message.text or message.refusal or "",
        finish_reason=choice.finish_reason,
        problem="content_policy" if refused else None,
        model=chat.model,
        usage=usage,
        logprobs=_logprobs(logprobs),
        raw=raw,
    )


def _responses_reply(raw: bytes) -> Reply:
    response = _decode_responses(raw)
    parts = [
        part for item in response.output if item.type == "message" for part in item.content or ()
    ]
    text = "".join(part.text for part in parts if part.text)
    refusal = "".join(part.refusal for part in parts if part.refusal)
    reason = response.incomplete_details.reason if response.incomplete_details else None
    if not parts and reason is None and response.status not in ("completed", None):
        raise MalformedReplyError(f"the response has status {response.status!r} and no text")
    usage = Usage(requests=1)
    if response.usage is not None:
        count(usage, response.usage.input_tokens, response.usage.output_tokens)
        details(usage, response.usage.input_tokens_details, response.usage.output_tokens_details)
    return Reply(
        text=text or refusal,
        finish_reason=reason or ("stop" if response.status == "completed" else response.status),
        problem="content_policy" if reason == "content_filter" or (refusal and not text) else None,
        model=response.model,
        usage=usage,
        logprobs=_logprobs(parts[0].logprobs if parts else None),
        raw=raw,
    )


def count(usage: Usage, prompt: float | None, completion: float | None) -> None:
    usage.prompt_tokens = _whole(prompt)
    usage.completion_tokens = _whole(completion)


def details(usage: Usage, prompt: _Details | None, completion: _Details | None) -> None:
    if prompt is not None:
        usage.cached_tokens = _whole(prompt.cached_tokens)
    if completion is not None:
        usage.reasoning_tokens = _whole(completion.reasoning_tokens)


def _whole(tokens: float | None) -> int:
    """A number of tokens: some endpoints say -1 for one that they do not know."""
    return max(0, int(tokens or 0))


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
