"""`Reply`: what a model endpoint said."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

from nanoeval_core.usage import Usage

__all__ = ["Problem", "Reply", "TokenLogprobs", "ToolCall"]

Problem = Literal["context_length", "content_policy", "empty"]
"""Why an endpoint gave no reply: the prompt is longer than the model's context, its content is
refused, or nothing was said, twice."""


class TokenLogprobs(NamedTuple):
    """One token of a reply and what else it could have been.

    Attributes:
        token: its text.
        logprob: its natural log probability.
        top: the most probable tokens at this place with theirs, as many as were asked for.
    """

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call of a tool that the model asks for.

    Attributes:
        id: names the call; made up where the endpoint gave none, or gave it twice.
        name: of the tool.
        arguments: parsed; None when they could not be.
        problem: why not, in words that the model can be told.
        text: the arguments as the model wrote them.
    """

    id: str
    name: str
    arguments: dict[str, Any] | None
    problem: str | None = None
    text: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model endpoint said.

    Attributes:
        text: the reply; for a refusal, what the endpoint said instead.
        finish_reason: as the endpoint names it, such as `stop` or `length`.
        problem: `context_length` or `content_policy` when the endpoint refused to reply, `empty`
            when it said nothing at all.
        model: the model that replied, by its own account.
        usage: tokens of the call, and what it took.
        logprobs: of each token, when they were asked for and given.
        tool_calls: the calls of tools that the model asks for, in order.
        reasoning: the model's thoughts, where the endpoint shows them.
        message: the assistant's message as the next request has to hold it: append it to the
            chat. It is valid whatever the model wrote: arguments that are no JSON object are
            sent back as `{}`, and reasoning goes back in the field in which it came.
        cached: the reply is from the response cache: nothing was called.
        first_usage: of a cached reply, what it took when it was made.
        limit: calls in flight that the endpoint was given when this one ended.
        raw: the body of the reply, for everything that is not read here.
    """

    text: str
    finish_reason: str | None = None
    problem: Problem | None = None
    model: str | None = None
    usage: Usage = dataclasses.field(default_factory=Usage)
    logprobs: tuple[TokenLogprobs, ...] | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str | None = None
    message: dict[str, Any] = dataclasses.field(default_factory=dict)
    cached: bool = False
    first_usage: Usage | None = None
    limit: int | None = None
    raw: bytes = b""

    @property
    def truncated(self) -> bool:
        """Whether the limit of tokens cut the reply off."""
        return (self.finish_reason or "").lower() in _CUT_OFF

    @property
    def only_reasoning(self) -> bool:
        """Whether the model thought and then neither said anything nor called a tool."""
        return bool(self.reasoning) and not self.text.strip() and not self.tool_calls


_CUT_OFF = frozenset(
    ("length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded",
     "token_limit")
)  # fmt: skip
