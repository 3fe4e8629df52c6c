"""One client per endpoint and process: the only place where `openai` is imported."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import openai
from nanoeval_core.errors import ConfigError, RolloutSystemError
from nanoeval_core.usage import Usage, report_usage

from nanoeval_solvers._templates import Message
from nanoeval_solvers.api_model import OPENAI_URL, APIModel


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What an endpoint said.

    Attributes:
        text: the reply; empty when there is a problem.
        finish_reason: as the endpoint names it, such as `stop` or `length`.
        problem: `context_length` or `content_policy` when the endpoint refused to reply.
        model: the model that replied, by its own account.
        usage: tokens of the call.
    """

    text: str
    finish_reason: str | None = None
    problem: str | None = None
    model: str | None = None
    usage: Usage = dataclasses.field(default_factory=Usage)

    @property
    def truncated(self) -> bool:
        return self.finish_reason in ("length", "max_output_tokens")


def api_key_of(model: APIModel) -> str:
    """The key that `model` names.

    Raises:
        ConfigError: the endpoint needs one and there is none.
    """
    key = os.environ.get(model.api_key_env, "")
    if key:
        return key
    if model.endpoint_url == OPENAI_URL:
        raise ConfigError(
            f"no API key: the environment variable {model.api_key_env} is not set. Set it, or "
            "point base_url at an endpoint that needs no key"
        )
    return "none"


class Client:
    """A connection pool to one endpoint."""

    def __init__(self, model: APIModel) -> None:
        self.users = 0
        self._openai = openai.AsyncOpenAI(
            base_url=model.endpoint_url, api_key=api_key_of(model), max_retries=0
        )

    async def close(self) -> None:
        await self._openai.close()

    async def ask(
        self,
        model: APIModel,
        messages: Sequence[Message],
        *,
        sample: str,
        params: Mapping[str, Any],
    ) -> Reply:
        body: dict[str, Any] = {"model": model.model, "messages": list(messages)}
        for name in ("temperature", "top_p", "max_tokens", "seed", "reasoning_effort"):
            if getattr(model, name) is not None:
                body[name] = getattr(model, name)
        try:
            completion = await self._openai.chat.completions.create(
                **body, **params, extra_body=dict(model.extra_body), timeout=model.timeout
            )
        except (
            openai.AuthenticationError,
            openai.PermissionDeniedError,
            openai.NotFoundError,
        ) as error:
            raise ConfigError(f"{model.endpoint_url} refused {model.model!r}: {error}") from None
        except openai.OpenAIError as error:
            raise RolloutSystemError(f"{model.endpoint_url}: {error}") from None
        choice = completion.choices[0]
        usage = Usage(requests=1)
        if completion.usage is not None:
            usage.prompt_tokens = completion.usage.prompt_tokens
            usage.completion_tokens = completion.usage.completion_tokens
        report_usage(usage)
        return Reply(
            text=choice.message.content or "",
            finish_reason=choice.finish_reason,
            model=completion.model,
            usage=usage,
        )


class _Clients:
    """Owns this process's clients: one per event loop and endpoint, closed by its last user."""

    open: dict[tuple[int, str, str], Client] = {}  # noqa: RUF012  this class is the owner


@contextlib.asynccontextmanager
async def open_client(model: APIModel) -> AsyncIterator[Client]:
    """The client of the endpoint of `model`, shared with whoever has it open."""
    key = (id(asyncio.get_running_loop()), model.endpoint_url, model.api_key_env)
    client = _Clients.open.get(key)
    if client is None:
        client = _Clients.open[key] = Client(model)
    client.users += 1
    try:
        yield client
    finally:
        client.users -= 1
        if client.users == 0:
            del _Clients.open[key]
            await client.close()
