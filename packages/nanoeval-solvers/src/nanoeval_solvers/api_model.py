"""`APIModel`: a model behind an OpenAI-compatible endpoint, and how to ask it."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import chz
from nanoeval_core.asyncio_utils import HasAsyncContextManager
from nanoeval_core.errors import ConfigError
from nanoeval_core.recorder import get_recorder
from nanoeval_core.usage import Usage

from nanoeval_solvers._templates import Message, without_image_data
from nanoeval_solvers.prices import Price, PriceTable, price_of

if TYPE_CHECKING:
    import openai

    from nanoeval_solvers.reply import Reply
    from nanoeval_solvers.tools import Tool, ToolChoice

__all__ = ["OPENAI_URL", "APIModel", "check_url", "record_reply"]

OPENAI_URL = "https://api.openai.com/v1"


@chz.chz
class APIModel(HasAsyncContextManager):
    """A model behind an OpenAI-compatible endpoint, and how to ask it.

    Keys are named, never held: `api_key_env` is the name of an environment variable.
    """

    model: str = chz.field(doc="The model's name, as the endpoint knows it.")
    base_url: str | None = chz.field(
        default=None,
        doc="The endpoint, such as http://127.0.0.1:8080/v1; by default "
        "$OPENAI_BASE_URL, else OpenAI's.",
    )
    api_key_env: str = chz.field(
        default="OPENAI_API_KEY",
        doc="The environment variable that holds the key; other endpoints than OpenAI's may "
        "need none.",
    )
    api: Literal["chat", "responses"] = chz.field(
        default="chat", doc="Which API to call: chat completions or responses."
    )
    temperature: float | None = chz.field(default=None, doc="Sent when given.")
    top_p: float | None = chz.field(default=None, doc="Sent when given.")
    max_tokens: int | None = chz.field(
        default=None, doc="The most tokens of a reply; sent when given."
    )
    seed: int | None = chz.field(
        default=None, doc="Sent when given, plus the number of the attempt: samples differ."
    )
    reasoning_effort: str | None = chz.field(
        default=None, doc="For reasoning models: minimal, low, medium, high, …"
    )
    extra_body: Mapping[str, Any] = chz.field(
        default_factory=dict, doc="Further fields of the request's body."
    )
    timeout: float = chz.field(default=600.0, doc="Seconds that one call may take.")
    max_retries: int = chz.field(
        default=8, doc="How often a call is repeated after failures that may pass."
    )
    retry_seconds: float = chz.field(
        default=300.0, doc="Seconds after which a call is not repeated any more."
    )
    max_concurrency: int | None = chz.field(
        default=None,
        doc="Calls in flight at most, over all executors; by default as many as go well.",
    )
    requests_per_minute: float | None = chz.field(
        default=None, doc="Calls started per minute at most, over all executors."
    )
    tokens_per_minute: float | None = chz.field(
        default=None, doc="Tokens spent per minute at most, over all executors."
    )
    cache: str | None = chz.field(
        default=None,
        doc="Keep replies and use them again: a folder, or run_set for this run set alone.",
    )
    prices: PriceTable | str | None = chz.field(
        default=None,
        doc="Prices per million tokens by model, or the JSON or TOML file that has them.",
    )

    @chz.validate
    def _check_model(self) -> None:
        where = type(self).__name__
        if not self.model:
            raise ConfigError(f"{where}.model is empty: name the model")
        if self.base_url is not None:
            check_url(self.base_url, f"{where}.base_url")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigError(f"{where}.max_tokens={self.max_tokens}: give 1 or more")
        if not self.timeout > 0:
            raise ConfigError(f"{where}.timeout={self.timeout}: give seconds, more than 0")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_env):
            raise ConfigError(  # without showing it: it may be the key
                f"{where}.api_key_env is no name of an environment variable: name the one that "
                "holds the key, such as OPENAI_API_KEY"
            )
        if self.api not in ("chat", "responses"):
            raise ConfigError(f"{where}.api={self.api!r}: give 'chat' or 'responses'")

    @chz.validate
    def _check_limits(self) -> None:
        for name in ("max_concurrency", "requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(
                    f"{type(self).__name__}.{name}={value}: give more than 0, or None for no limit"
                )
        for name in ("max_retries", "retry_seconds"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"{type(self).__name__}.{name}={getattr(self, name)}: it cannot be negative"
                )
        if self.seed is not None and self.api == "responses":
            raise ConfigError(
                f"{type(self).__name__}.seed={self.seed}: the responses API takes no seed: leave "
                "it out, or use api='chat'"
            )

    @chz.validate
    def _check_prices(self) -> None:
        self._price  # noqa: B018  raises when the table has no price for the model

    @chz.init_property
    def _price(self) -> Price | None:
        return None if self.prices is None else price_of(self.model, self.prices)

    @property
    def endpoint_url(self) -> str:
        """The endpoint that calls go to."""
        return (self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")

    def api_key(self) -> str:
        """The key that `api_key_env` names.

        Raises:
            ConfigError: the endpoint needs one and there is none.
        """
        key = os.environ.get(self.api_key_env, "").strip()
        if key:
            return key
        if self.endpoint_url == OPENAI_URL:
            raise ConfigError(
                f"no API key: the environment variable {self.api_key_env} is not set. Set it, or "
                "point base_url at an endpoint that needs no key"
            )
        return "none"

    def make_client(self, **options: Any) -> openai.AsyncOpenAI:
        """The SDK's client, which decides how calls are addressed and authenticated.

        Override it for an endpoint of another kind, such as
        `return openai.AsyncAzureOpenAI(api_version=…, azure_endpoint=…, **options)`, and keep
        `http_client` and `max_retries` as they are in `options`.
        """
        import openai  # noqa: PLC0415  heavy: when a client is first built, not before

        return openai.AsyncOpenAI(**options)

    @chz.init_property
    def client_id(self) -> tuple[Any, ...]:
        """What models must have in common, beside the endpoint's URL and the name of the key, to
        share a client: how it is made, and of which fields of a class that makes its own."""
        ways = tuple(getattr(type(self), name) for name in ("make_client", "api_key"))
        if ways == (APIModel.make_client, APIModel.api_key):
            return ()
        own = {
            name
            for one in type(self).__mro__
            if not one.__module__.startswith("nanoeval_solvers.")
            for name in inspect.get_annotations(one)
        }
        return (*ways, *(f"{name}={getattr(self, name, None)!r}" for name in sorted(own)))

    def lane_id(self) -> tuple[Any, ...]:
        """What calls must have in common to share a limit and a cache."""
        return (
            self.model,
            self.api,
            self.timeout,
            self.cache,
            self.max_concurrency,
            self.requests_per_minute,
            self.tokens_per_minute,
        )

    def body(
        self,
        messages: Sequence[Message],
        params: Mapping[str, Any],
        *,
        tools: Sequence[Tool] = (),
        tool_choice: ToolChoice | None = None,
    ) -> dict[str, Any]:
        """The body of a request."""
        from nanoeval_solvers._api import wire as _wire  # noqa: PLC0415  msgspec, on the path of calls only

        sent = {
            name: value
            for name, value in (("temperature", self.temperature), ("top_p", self.top_p))
            if value is not None
        }
        make = _wire.chat_body if self.api == "chat" else _wire.responses_body
        return make(
            messages,
            model=self.model,
            max_tokens=self.max_tokens,
            reasoning_effort=self.reasoning_effort,
            params={**sent, **params, **self.extra_body},
            tools=tools,
            tool_choice=tool_choice,
        )

    def cost(self, usage: Usage) -> float:
        """What `usage` costs, in the unit of `prices`; 0 without."""
        return 0.0 if self._price is None else self._price.cost(usage)

    async def _context(self) -> AsyncGenerator[None, None]:
        async with (await _client_module()).open_client(self):
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
            RolloutSystemError: the endpoint failed, and went on failing.
        """
        fields = dict(params or {})
        if self.seed is not None:
            fields["seed"] = self.seed + attempt - 1
        async with (await _client_module()).open_client(self) as client:
            body = self.body(messages, fields, tools=tools, tool_choice=tool_choice)
            reply: Reply = await client.ask(self, body, sample=sample)
            return reply


def check_url(url: str, name: str) -> None:
    """Raise `ConfigError`, which does not show secrets, unless `url` can be an endpoint."""
    if not url.startswith(("http://", "https://")):
        shown = f"={url!r}" if not {"@", "?"} & set(url) else ""
        raise ConfigError(f"{name}{shown}: it must begin with http:// or https://")
    if "@" in url.partition("//")[2].partition("/")[0]:
        raise ConfigError(
            f"{name} holds a user or a password: name the environment variable with the key in "
            "api_key_env instead"
        )
    if "?" in url or "#" in url:
        raise ConfigError(
            f"{name} holds a query, but paths such as /chat/completions are added to it: give "
            "only what comes before them; a key is named in api_key_env, and other parameters "
            "are an overridden make_client's"
        )


class _Loaded:
    """Whether `_client`, and with it openai, is imported: when a client is first built."""

    client: ModuleType | None = None


async def _client_module() -> Any:
    if _Loaded.client is None:
        # On a thread: it takes a second, in which the event loop has other work.
        _Loaded.client = await asyncio.to_thread(
            importlib.import_module, "nanoeval_solvers._api.client"
        )
    return _Loaded.client


def record_reply(messages: Sequence[Message], reply: Reply, *, model: str, **more: Any) -> None:
    """Record a chat and its reply as one sampling, with what it took and `more`."""
    usage = reply.usage
    extra: dict[str, Any] = {"model": reply.model or model, "finish_reason": reply.finish_reason}
    if reply.cached:
        extra["cached"] = True
    else:
        extra["usage"] = {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cached_tokens": usage.cached_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
        }
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
    get_recorder().record_sampling(without_image_data(messages), [reply.text], **extra, **more)
