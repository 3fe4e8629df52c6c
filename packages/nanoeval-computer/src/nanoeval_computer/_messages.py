"""Chat messages as the OpenAI API takes them, typed without importing its client."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias

from typing_extensions import TypedDict

Content: TypeAlias = str | list[dict[str, Any]]
"""A text, or a list of parts such as `{"type": "text", "text": …}`."""


class DeveloperMessage(TypedDict):
    role: Literal["developer"]
    content: Content
    name: NotRequired[str]


class UserMessage(TypedDict):
    role: Literal["user"]
    content: Content
    name: NotRequired[str]


class FunctionCall(TypedDict):
    name: str
    arguments: str


class ToolCallParam(TypedDict):
    id: str
    type: Literal["function", "custom"]
    function: NotRequired[FunctionCall]
    custom: NotRequired[dict[str, Any]]


class AssistantMessage(TypedDict):
    role: Literal["assistant"]
    content: NotRequired[Content | None]
    name: NotRequired[str]
    refusal: NotRequired[str | None]
    audio: NotRequired[dict[str, Any] | None]
    tool_calls: NotRequired[list[ToolCallParam]]
    function_call: NotRequired[FunctionCall | None]


class ToolMessage(TypedDict):
    role: Literal["tool"]
    content: Content
    tool_call_id: str


class FunctionMessage(TypedDict):
    role: Literal["function"]
    name: str
    content: str | None


ChatCompletionMessageParam: TypeAlias = (
    DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage
)
"""A message of a task's prompt. There is none of role `system`: that one is the solver's."""
