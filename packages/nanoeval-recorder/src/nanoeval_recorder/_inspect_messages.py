"""Chats as Inspect's own types: roles, tool calls and their results, images, reasoning."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    Content,
    ContentImage,
    ContentReasoning,
    ContentText,
)
from inspect_ai.tool import ToolCall

from nanoeval_recorder.reading.events import Event, RecordedFile, Sampling


class ChatConverter:
    """Converts the chats of one record.

    Args:
        events: all of the record's; the files among them take the place of their references.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self._files = {
            f"sha256:{event.sha256}": event for event in events if isinstance(event, RecordedFile)
        }
        # By identity: the prompts of a dialogue share their messages.
        self._known: dict[int, tuple[Any, ChatMessage]] = {}

    def prompt(self, prompt: Any) -> list[ChatMessage]:
        if not (
            isinstance(prompt, list) and all(isinstance(m, dict) and "role" in m for m in prompt)
        ):
            return [ChatMessageUser(content=text_of(prompt))]
        return [self._message(message) for message in prompt]

    def reply(self, sampling: Sampling) -> ChatMessageAssistant:
        """Return what the model said: text, reasoning and tool calls."""
        said = text_of(sampling.sampled[0]) if sampling.sampled else ""
        return _assistant(said, sampling.get("reasoning"), sampling.get("tool_calls"))

    def _message(self, message: dict[str, Any]) -> ChatMessage:
        known = self._known.get(id(message))
        if known is None:
            known = self._known[id(message)] = message, self._convert(message)
        return known[1]

    def _convert(self, message: dict[str, Any]) -> ChatMessage:
        content = self._content(message.get("content"))
        role = message["role"]
        if role in ("system", "developer"):
            return ChatMessageSystem(content=content)
        if role == "assistant":
            reasoning = message.get("reasoning") or message.get("reasoning_content")
            return _assistant(content, reasoning, message.get("tool_calls"))
        if role in ("tool", "function"):
            name, call_id = message.get("name"), message.get("tool_call_id")
            return ChatMessageTool(
                content=content,
                function=name if isinstance(name, str) else None,
                tool_call_id=call_id if isinstance(call_id, str) else None,
            )
        return ChatMessageUser(content=content)

    def _content(self, content: Any) -> str | list[Content]:
        if isinstance(content, list) and all(isinstance(part, dict) for part in content):
            return [self._part(part) for part in content]
        if isinstance(content, str):
            kept = self._files.get(content)
            return content if kept is None else [self._kept(kept)]
        return "" if content is None else text_of(content)

    def _part(self, part: dict[str, Any]) -> Content:
        kind = part.get("type")
        if kind in ("text", "input_text", "output_text"):
            return ContentText(text=text_of(part.get("text", "")))
        if kind in ("image_url", "input_image", "image"):
            image = part.get("image_url", part.get("image"))
            image = image.get("url") if isinstance(image, dict) else image
            if isinstance(image, str):
                kept = self._files.get(image)
                return ContentImage(image=image) if kept is None else self._kept(kept)
        return ContentText(text=text_of(part))

    def _kept(self, file: RecordedFile) -> Content:
        content, media_type = file.content, str(file.get("media_type"))
        if isinstance(content, bytes) and media_type.startswith("image/"):
            coded = base64.b64encode(content).decode()
            return ContentImage(image=f"data:{media_type};base64,{coded}")
        said = content if isinstance(content, str) else f"sha256:{file.sha256} ({media_type})"
        return ContentText(text=said)


def _assistant(content: str | list[Content], reasoning: Any, calls: Any) -> ChatMessageAssistant:
    if isinstance(reasoning, str) and reasoning:
        said: list[Content] = [ContentText(text=content)] if isinstance(content, str) else content
        content = [ContentReasoning(reasoning=reasoning), *said]
    found = [tool_call(call) for call in calls if isinstance(call, dict)] if calls else []
    return ChatMessageAssistant(content=content, tool_calls=found or None)


def tool_call(call: Mapping[str, Any]) -> ToolCall:
    """Return a call as chat completions have it, or with `name` and `arguments` at its top."""
    function = call.get("function")
    inner = function if isinstance(function, Mapping) else call
    arguments, problem = inner.get("arguments"), call.get("problem") or call.get("parse_error")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            problem = f"{error}: {arguments}"
    if not isinstance(arguments, dict):
        arguments = {} if arguments is None or problem else {"arguments": arguments}
    return ToolCall(
        id=str(call.get("id") or ""),
        function=str(inner.get("name") or ""),
        arguments=arguments,
        parse_error=None if problem is None else str(problem),
    )


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
