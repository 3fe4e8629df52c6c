"""The fields of a model behind an endpoint, checked, and what follows from them."""

from __future__ import annotations

import inspect
import os
import re
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import chz
from nanoeval_core.errors import ConfigError
from nanoeval_core.usage import Usage

from nanoeval_solvers.prices import Price, PriceTable, price_of

if TYPE_CHECKING:
    import openai

OPENAI_URL = "https://api.openai.com/v1"


@chz.chz
class ModelFields:
    """A model behind an OpenAI-compatible endpoint: the fields of `APIModel`.

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
        default_factory=dict,
        doc="Further fields of the request's body; None takes a field out of it.",
    )
    stream: bool = chz.field(
        default=False,
        doc="Ask for streams; an endpoint that says it only streams is asked for them anyway.",
    )
    timeout: float = chz.field(default=600.0, doc="Seconds that one call may take.")
    max_retries: int = chz.field(
        default=8, doc="How often a call is repeated after failures that may pass."
    )
    retry_seconds: float = chz.field(
        default=300.0, doc="Seconds after which a call is not repeated any more."
    )
    fail_on_error: float | None = chz.field(
        default=None,
        doc="End the run when the endpoint has rejected so many requests, or (below 1) such a "
        "share of them; by default only when it rejects all.",
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
        n = self.extra_body.get("n")
        if n not in (None, 1):
            raise ConfigError(
                f"{where}.extra_body['n']={n!r}: a call gives one reply. Leave it out, and ask for "
                "several samples with the eval's own field, such as n_consensus"
            )
        if self.api not in ("chat", "responses"):
            raise ConfigError(f"{where}.api={self.api!r}: give 'chat' or 'responses'")

    @chz.validate
    def _check_limits(self) -> None:
        where = type(self).__name__
        limits = ("max_concurrency", "requests_per_minute", "tokens_per_minute", "fail_on_error")
        for name in limits:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{where}.{name}={value}: give more than 0, or None for no limit")
        for name in ("max_retries", "retry_seconds"):
            value = getattr(self, name)
            if value < 0:
                raise ConfigError(f"{where}.{name}={value}: it cannot be negative")
        if self.seed is not None and self.api == "responses":
            raise ConfigError(
                f"{where}.seed={self.seed}: the responses API takes no seed: leave it out, or use "
                "api='chat'"
            )

    @chz.init_property
    def _price(self) -> Price | None:
        return None if self.prices is None else price_of(self.model, self.prices)

    @property
    def endpoint_url(self) -> str:
        """The endpoint that calls go to."""
        return (self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")

    def api_key(self) -> str:
        """Return the key that `api_key_env` names.

        Raises:
            ConfigError: the endpoint needs one and it is missing.
        """
        key = os.environ.get(self.api_key_env, "").strip()
        if key:
            check_key(key, f"the environment variable {self.api_key_env}")
            return key
        if self.endpoint_url == OPENAI_URL:
            raise ConfigError(
                f"no API key: the environment variable {self.api_key_env} is not set. Set it, or "
                "point base_url at an endpoint that needs no key"
            )
        return "none"

    def make_client(self, **options: Any) -> openai.AsyncOpenAI:
        """Return the SDK's client, which decides how calls are addressed and authenticated.

        Override it for an endpoint of another kind, such as
        `return openai.AsyncAzureOpenAI(api_version=…, azure_endpoint=…, **options)`, and keep
        `http_client` and `max_retries` as they are in `options`.
        """
        import openai  # noqa: PLC0415  heavy: when a client is first built, not before

        return openai.AsyncOpenAI(**options)

    @chz.init_property
    def client_id(self) -> tuple[Any, ...]:
        """What models must have in common, apart from the endpoint's URL and the name of the key,
        to share a client: how it is made, and of which fields of a class that makes its own."""
        ways = tuple(getattr(type(self), name) for name in ("make_client", "api_key"))
        if ways == (ModelFields.make_client, ModelFields.api_key):
            return ()
        own = {
            name
            for one in type(self).__mro__
            if not one.__module__.startswith("nanoeval_solvers.")
            for name in inspect.get_annotations(one)
        }
        return (*ways, *(f"{name}={getattr(self, name, None)!r}" for name in sorted(own)))

    @chz.init_property
    def route_id(self) -> tuple[Any, ...]:
        """What calls must have in common to share a limit and a cache."""
        return (
            self.model,
            self.api,
            self.timeout,
            self.stream,
            self.cache,
            self.max_concurrency,
            self.requests_per_minute,
            self.tokens_per_minute,
        )

    def cost(self, usage: Usage) -> float:
        """Return what `usage` costs, in the unit of `prices`; 0 without."""
        return 0.0 if self._price is None else self._price.cost(usage)


def check_key(key: str, name: str) -> None:
    """Raise `ConfigError`, which does not show the key, unless `key` can be sent in a header."""
    for at, character in enumerate(key):
        if not "!" <= character <= "~":
            called = unicodedata.name(character, "a control character")
            raise ConfigError(
                f"the key in {name} has an invisible or foreign character at place {at + 1} of "
                f"{len(key)}: U+{ord(character):04X}, {called}. Copy the key again"
            )


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
