"""`APIModel`: a model behind an OpenAI-compatible endpoint, and how to ask it."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import chz
from nanoeval_core.asyncio_utils import HasAsyncContextManager
from nanoeval_core.errors import ConfigError
from nanoeval_core.recorder import get_recorder, record_file

from nanoeval_solvers._api.model_fields import OPENAI_URL, ModelFields, check_url
from nanoeval_solvers._templates import Message

if TYPE_CHECKING:
    from nanoeval_solvers.reply import Reply
    from nanoeval_solvers.tools import Tool, ToolChoice

__all__ = ["OPENAI_URL", "APIModel", "check_url", "record_reply"]


@chz.chz
class APIModel(ModelFields, HasAsyncContextManager):
    """A model behind an OpenAI-compatible endpoint, and how to ask it.

    While it is entered, its connections stay open between calls.
    """

    def body(
        self,
        messages: Sequence[Message],
        params: Mapping[str, Any],
        *,
        tools: Sequence[Tool] = (),
        tool_choice: ToolChoice | None = None,
    ) -> dict[str, Any]:
        """Return the body of a request; a subclass may change it."""
        from nanoeval_solvers._api.wire import request_body  # noqa: PLC0415  on calls' path only

        if params.get("n") not in (None, 1):
            raise ConfigError(f"params['n']={params['n']!r}: a call gives one reply")
        return request_body(self, messages, params, tools, tool_choice)

    async def _context(self) -> AsyncGenerator[None, None]:
        from nanoeval_solvers._api.client import open_client  # noqa: PLC0415  as above

        async with open_client(self):
            yield

    async def ask(
        self,
        messages: Sequence[Message],
        *,
        sample: str,
        attempt: int = 1,
        tools: Sequence[Tool] = (),
        tool_choice: ToolChoice | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Send a chat and return the reply, however many calls that takes.

        What is spent is reported to the run, and each repeated call is recorded.

        Args:
            messages: the chat.
            sample: which sample this is, such as `question.attempt`: two samples of the same
                chat are independent, and the response cache keeps them apart.
            attempt: from 1; `seed` is sent plus `attempt - 1`.
            tools: what the model may call; `Reply.tool_calls` has its calls.
            tool_choice: `auto`, `none`, `required`, or the name of the tool to call.
            params: further fields of the request's body.

        Raises:
            ConfigError: the endpoint will never answer: a wrong key, an unknown model, ….
            RequestRejectedError: it rejects this request, and serves others.
            RolloutSystemError: it failed, and went on failing.
        """
        from nanoeval_solvers._api.client import open_client  # noqa: PLC0415  as above

        fields = dict(params or {})
        if self.seed is not None:
            fields["seed"] = self.seed + attempt - 1
        body = self.body(messages, fields, tools=tools, tool_choice=tool_choice)
        async with open_client(self) as client:
            return await client.ask(self, body, sample=sample)


def record_reply(messages: Sequence[Message], reply: Reply, *, model: str, **more: Any) -> None:
    """Record a chat and its reply as one sampling, with what it took and `more`."""
    usage = reply.usage
    extra: dict[str, Any] = {"model": reply.model or model, "finish_reason": reply.finish_reason}
    if reply.cached:
        extra["cached"] = True
    else:
        kinds = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
        extra["usage"] = {kind: getattr(usage, kind) for kind in kinds}
        extra["concurrency_limit"] = reply.limit
    if reply.tool_calls:
        extra["tool_calls"] = [
            {"id": call.id, "name": call.name, "arguments": call.arguments}
            | ({"problem": call.problem, "text": call.text} if call.problem else {})
            for call in reply.tool_calls
        ]
    if reply.reasoning:
        extra["reasoning"] = reply.reasoning
    if usage.retries:
        extra["retries"] = usage.retries
    if usage.cost:
        extra["cost"] = usage.cost
    prompt = [_with_kept_images(message) for message in messages]
    get_recorder().record_sampling(prompt, [reply.text], **extra, **more)


def _with_kept_images(message: Message) -> Message:
    """Return a message for the record: images are kept once, as files, and named by their hash.

    Others are given as they are: the recorder sees by identity what it has already recorded.
    """
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [_kept_image(part) for part in content]}


def _kept_image(part: dict[str, Any]) -> dict[str, Any]:
    url = part["image_url"]["url"] if part.get("type") == "image_url" else ""
    if not url.startswith("data:"):
        return part
    head, _, data = url.partition(",")
    media_type = head[5:].removesuffix(";base64")
    content = base64.b64decode(data) if head.endswith(";base64") else unquote_to_bytes(data)
    return {**part, "image_url": {"url": record_file(content, media_type)}}
