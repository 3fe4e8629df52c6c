"""`APIModel`: a model behind an OpenAI-compatible endpoint, and how to ask it."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import chz
from nanoeval_core.async_tools import HasAsyncContextManager
from nanoeval_core.errors import ConfigError

from nanoeval_solvers._templates import Message

if TYPE_CHECKING:
    from nanoeval_solvers._client import Reply

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

    @chz.validate
    def _check_model(self) -> None:
        where = type(self).__name__
        if not self.model:
            raise ConfigError(f"{where}.model is empty: name the model")
        url = self.base_url
        if url is not None and not url.startswith(("http://", "https://")):
            raise ConfigError(f"{where}.base_url={url!r}: it must begin with http:// or https://")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigError(f"{where}.max_tokens={self.max_tokens}: give 1 or more")
        if not self.timeout > 0:
            raise ConfigError(f"{where}.timeout={self.timeout}: give seconds, more than 0")
        if self.api_key_env.startswith(("sk-", "Bearer")):
            raise ConfigError(
                f"{where}.api_key_env holds a key: give the name of the environment variable "
                "that holds it, such as OPENAI_API_KEY"
            )

    @property
    def endpoint_url(self) -> str:
        """The endpoint that calls go to."""
        return (self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")

    async def _context(self) -> AsyncGenerator[None, None]:
        # Deferred: openai is imported when a client is first built, not before.
        from nanoeval_solvers._client import open_client  # noqa: PLC0415

        async with open_client(self):
            yield

    async def ask(self, messages: Sequence[Message], *, sample: str, **params: Any) -> Reply:
        """Send one request and return the reply, whatever it took.

        Args:
            messages: the chat.
            sample: which sample this is, such as `question.attempt`: two samples of the same
                chat are independent.
            params: further fields of the request's body.

        Raises:
            ConfigError: the endpoint will never answer this: a wrong key, an unknown model, ….
            RolloutSystemError: the endpoint failed.
        """
        from nanoeval_solvers._client import open_client  # noqa: PLC0415  imports openai

        async with open_client(self) as client:
            return await client.ask(self, messages, sample=sample, params=params)
