"""Tools that a model may call, and the chat around their calls.

@tool
async def add(a: int, b: int) -> int:
    \"\"\"Add two numbers.\"\"\"
    return a + b

dialogue = Dialogue([{"role": "user", "content": "What is 2 + 3?"}], tools=[add])
while dialogue.ended is None:
    await dialogue.step(await model.ask(dialogue.messages, sample="q", tools=[add]))
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import functools
import inspect
import json
import re
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, overload

import pydantic
from nanoeval_core.errors import ConfigError, NanoevalError
from nanoeval_core.recorder import get_recorder, record_file

from nanoeval_solvers._templates import Message, image_url
from nanoeval_solvers.reply import Reply, ToolCall

__all__ = [
    "EMPTY",
    "NUDGE",
    "RESULT_LIMIT",
    "Approve",
    "Dialogue",
    "Ended",
    "Image",
    "Tool",
    "ToolChoice",
    "ToolError",
    "ToolResult",
    "shortened",
    "tool",
    "tools_by_name",
]

RESULT_LIMIT = 16_384  # bytes of a result that the model is shown
NUDGE = "Call one of the tools to go on."
EMPTY = "(empty)"  # endpoints refuse messages without content

ToolChoice = Literal["auto", "none", "required"] | str
"""Whether the model has to call a tool; any other text names the tool that it has to call."""

Ended = Literal["no_call", "refused", "context_length"]
"""Why a dialogue is over: the model called no tool, however often it was nudged; the endpoint
refused the content; the chat is longer than the model's context."""


NoResult = Literal["arguments", "unknown_tool", "truncated", "denied", "failed"]


class ToolError(NanoevalError):
    """A tool failed in a way that the model should be told: raise it from the tool."""


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """An image that a tool shows to the model.

    Args:
        source: the content, a path, or an https: or data: URL.
        media_type: of a content given as bytes.
    """

    source: str | bytes
    media_type: str = "image/png"

    @property
    def url(self) -> str:
        """The image as a URL that an endpoint can read."""
        if isinstance(self.source, bytes):
            return f"data:{self.media_type};base64,{base64.b64encode(self.source).decode()}"
        return image_url(self.source)


class Tool:
    """A typed async function that a model may call. Make one with `tool`.

    Attributes:
        name: as the model calls it.
        description: what the model is told that it does.
        parameters: the JSON schema of its arguments.
    """

    def __init__(
        self,
        function: Callable[..., Awaitable[Any]],
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        functools.update_wrapper(self, function)
        self._made_of = (function, name, description)
        self.name: str = name or function.__name__
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", self.name):
            raise ConfigError(
                f"tool name {self.name!r}: give 1 to 64 letters, digits, '_' or '-', as in "
                "@tool(name='search')"
            )
        if not inspect.iscoroutinefunction(function):
            raise ConfigError(f"tool {self.name!r}: define it with `async def`")
        about, args = _docstring(inspect.getdoc(function) or "")
        self.description = description or about
        if not self.description:
            raise ConfigError(
                f"tool {self.name!r} has no docstring: say there what it does, the model reads it"
            )
        self._model, parameters = _described(function, self.name, args)
        self.parameters: dict[str, Any] = copy.deepcopy(parameters)  # to be changed, if need be

    def __reduce__(self) -> Any:
        # A decorated function is found again under its name, any other is pickled with the tool.
        found: Any = sys.modules.get(self.__module__)
        name: str = vars(self)["__qualname__"]
        for part in name.split("."):
            found = getattr(found, part, None)
        return name if found is self else (Tool, self._made_of)

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return await self._made_of[0](*args, **kwargs)

    @property
    def schema(self) -> dict[str, Any]:
        """The tool as a request of chat completions describes it."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": self.parameters,
            },
        }

    async def run(self, arguments: Mapping[str, Any]) -> Any:
        """Check the arguments and call the function.

        Raises:
            ToolError: they do not fit the schema; the message is for the model.
        """
        try:
            checked = self._model.model_validate(dict(arguments))
        except pydantic.ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, one['loc'])) or 'arguments'}: {one['msg']}"
                for one in error.errors(include_url=False, include_context=False)
            )
            raise ToolError(f"Wrong arguments for {self.name}: {wrong}") from None
        # Those that were not given are left to the function's own defaults.
        return await self(**{name: getattr(checked, name) for name in checked.model_fields_set})


@overload
def tool(function: Callable[..., Awaitable[Any]], /) -> Tool: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None
) -> Callable[[Callable[..., Awaitable[Any]]], Tool]: ...


def tool(
    function: Callable[..., Awaitable[Any]] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
) -> Tool | Callable[[Callable[..., Awaitable[Any]]], Tool]:
    """Make a tool of a typed async function: its schema comes from the signature, its description
    from the docstring (of parameters, from the section `Args:`).

    A method is wrapped when it is bound: `tool(machine.bash)`.

    Raises:
        ConfigError: it is not async, or a parameter has no type, or it says nothing about itself.
    """
    if function is not None:
        return Tool(function)
    return lambda function: Tool(function, name, description)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What became of a call.

    Attributes:
        call: the call.
        text: what the model is shown, at most 16 kB: head and tail of something longer.
        images: shown after the batch, as URLs.
        whole: the text before it was cut.
        value: what the tool returned.
        problem: why there is no result: `arguments`, `unknown_tool`, `truncated` (the reply was
            cut off: nothing was executed), `denied` by `approve`, `failed` with a `ToolError`.
        seconds: that it took.
    """

    call: ToolCall
    text: str
    images: tuple[str, ...] = ()
    whole: str = ""
    value: Any = None
    problem: NoResult | None = None
    seconds: float = 0.0


Approve = Callable[[ToolCall], Awaitable[str | None]]
"""Asked before each call: None lets it happen, a text denies it and is what the model is told."""


class Dialogue:
    """A chat with tools that stays valid whatever the model sends.

    Attributes:
        messages: the chat; append to it, or replace it, between steps.
        ended: why it is over; None while it is not.
        turns: replies so far.

    Args:
        nudges: how often in a row a model that calls no tool is told to; then the dialogue ends.
            0 ends it with the first reply without calls, as a chat that finishes in words.
        nudge: what it is told.
        approve: asked before each call.
        result_limit: bytes of a result that the model is shown.
    """

    def __init__(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        *,
        nudges: int = 3,
        nudge: str = NUDGE,
        approve: Approve | None = None,
        result_limit: int = RESULT_LIMIT,
    ) -> None:
        self.messages: list[Message] = list(messages)
        self.ended: Ended | None = None
        self.turns = 0
        self._tools = tools_by_name(tools)
        self._nudges, self._nudge = nudges, nudge
        self._nudged = 0
        self._approve = approve
        self._limit = result_limit
        self._ids: set[str] = set()

    async def step(self, reply: Reply) -> tuple[ToolResult, ...]:
        """Append a reply, execute its calls one after the other, and append their results.

        A result that the model is shown in part is recorded whole.

        Raises:
            Exception: whatever a tool raised that is no `ToolError`.
        """
        self.turns += 1
        if reply.problem in ("content_policy", "context_length"):
            self.ended = "refused" if reply.problem == "content_policy" else "context_length"
            return ()
        message, calls = self._with_own_ids(reply)
        self.messages.append(message)
        if not calls:
            self._nudged += 1
            if self._nudged > self._nudges:
                self.ended = "no_call"
            else:
                self.messages.append({"role": "user", "content": self._nudge})
            return ()
        self._nudged = 0
        results = tuple([await self._execute(call, reply.truncated) for call in calls])
        pictures: list[dict[str, Any]] = []
        for one in results:
            shown = {"role": "tool", "tool_call_id": one.call.id, "content": one.text or EMPTY}
            self.messages.append(shown)
            if len(one.whole) > len(one.text):
                whole = {"call": one.call.id, "whole": record_file(one.whole)}
                get_recorder().record_extra({"tool_result": whole})
            if one.images:
                pictures.append({"type": "text", "text": f"Images of {one.call.id}:"})
                pictures += [{"type": "image_url", "image_url": {"url": url}} for url in one.images]
        if pictures:  # after the batch: a tool's message holds text alone, and follows the calls
            self.messages.append({"role": "user", "content": pictures})
        return results

    def _with_own_ids(self, reply: Reply) -> tuple[Message, list[ToolCall]]:
        """Return the message and the calls, with ids that no earlier call of the dialogue has."""
        new: dict[str, str] = {}
        for call in reply.tool_calls:
            own, count = call.id, 1
            while own in self._ids:
                count += 1
                own = f"{call.id}_{count}"
            self._ids.add(own)
            new[call.id] = own
        message = reply.message
        if any(old != own for old, own in new.items()):
            message = json.loads(json.dumps(message))
            for sent in message.get("tool_calls", ()):
                sent["id"] = new[sent["id"]]
            for item in message.get("output", ()):
                if item.get("type") == "function_call":
                    item["call_id"] = new[item["call_id"]]
        return message, [dataclasses.replace(call, id=new[call.id]) for call in reply.tool_calls]

    async def _execute(self, call: ToolCall, truncated: bool) -> ToolResult:
        problem: NoResult | None = None
        value: Any = None
        seconds = 0.0
        if truncated:
            problem = "truncated"
            whole = "Not executed: the reply was cut off at its limit of tokens. Call it again."
        elif call.name not in self._tools:
            names = ", ".join(self._tools) or "none"
            problem = "unknown_tool"
            whole = f"There is no tool {call.name!r}. The tools are: {names}."
        elif call.arguments is None:
            problem, whole = "arguments", f"Not executed: {call.problem}"
        elif self._approve is not None and (denied := await self._approve(call)) is not None:
            problem, whole = "denied", denied
        else:
            started = time.monotonic()
            try:
                value = await self._tools[call.name].run(call.arguments)
            except ToolError as error:
                problem, whole = "failed", str(error)
            seconds = time.monotonic() - started
        images: tuple[str, ...] = ()
        shown = ""
        if problem is None:
            several = isinstance(value, list | tuple) and any(isinstance(x, Image) for x in value)
            parts = value if several else [value]
            images = tuple(part.url for part in parts if isinstance(part, Image))
            whole = "\n".join(_as_text(part) for part in parts if not isinstance(part, Image))
            shown = f"{len(images)} image{'s' * (len(images) > 1)}, shown below." if images else ""
        return ToolResult(
            call=call,
            text=shortened("\n".join(filter(None, (whole, shown))), self._limit),
            images=images,
            whole=whole,
            value=value,
            problem=problem,
            seconds=seconds,
        )


def tools_by_name(tools: Sequence[Tool]) -> dict[str, Tool]:
    """Return the tools by their names.

    Raises:
        ConfigError: two have the same name.
    """
    by_name: dict[str, Tool] = {}
    for one in tools:
        if not isinstance(one, Tool):
            raise ConfigError(f"tools: {one!r} is no tool: decorate the function with @tool")
        if one.name in by_name:
            raise ConfigError(f"tools: two are named {one.name!r}: give one @tool(name=…)")
        by_name[one.name] = one
    return by_name


def shortened(text: str, limit: int = RESULT_LIMIT) -> str:
    """Return head and tail of `text`, in at most `limit` bytes of UTF-8, saying how long it was."""
    if len(text) * 4 <= limit:
        return text
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return text
    note = f"\n[… {len(data)} bytes in all, the middle is left out …]\n"
    kept = max(0, limit - len(note.encode()))
    head, tail = data[: kept - kept // 2], data[len(data) - kept // 2 :]
    return head.decode("utf-8", "ignore") + note + tail.decode("utf-8", "ignore")


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "Done."
    return pydantic.TypeAdapter(Any).dump_json(value, fallback=repr).decode("utf-8", "replace")


_SECTION = re.compile(r"^([A-Z]\w+):\s*$", re.MULTILINE)
_ARG = re.compile(r"^ {2,}\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.*(?:\n {6,}\S.*)*)", re.MULTILINE)


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return what a docstring in Google's style says, and what it says of each parameter."""
    about, *rest = _SECTION.split(text)
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    args = "".join(sections.get(name, "") for name in ("Args", "Arguments", "Parameters"))
    return about.strip(), {name: " ".join(words.split()) for name, words in _ARG.findall(args)}


_Description = tuple[type[pydantic.BaseModel], dict[str, Any]]
"""What checks the arguments of a tool, and their JSON schema."""


def _described(function: Callable[..., Any], name: str, about: Mapping[str, str]) -> _Description:
    fields: list[tuple[str, Any, Any, str | None]] = []
    types = inspect.get_annotations(getattr(function, "__func__", function), eval_str=True)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigError(
                f"tool {name!r}: *{parameter.name} cannot be described: name each parameter"
            )
        if parameter.name not in types:
            bound = " (wrap a method when it is bound: tool(machine.bash))"
            raise ConfigError(
                f"tool {name!r}: parameter {parameter.name!r} has no type: annotate it"
                f"{bound if parameter.name == 'self' else ''}"
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        fields.append((parameter.name, types[parameter.name], default, about.get(parameter.name)))
    try:
        return _model_of(name, *fields)
    except TypeError:  # a default that cannot be hashed
        return _model_of.__wrapped__(name, *fields)


@functools.lru_cache  # a machine's tools are made for each machine, and this takes most of it
def _model_of(name: str, *fields: tuple[str, Any, Any, str | None]) -> _Description:
    described: dict[str, Any] = {
        field: (type_, pydantic.Field(default, description=about))
        for field, type_, default, about in fields
    }
    try:
        model = pydantic.create_model(name, __config__={"extra": "forbid"}, **described)
    except (TypeError, NameError, pydantic.errors.PydanticUserError) as error:
        raise ConfigError(f"tool {name!r}: its parameters have no JSON schema: {error}") from error
    return model, _plain_schema(model.model_json_schema())


def _plain_schema(schema: Any) -> Any:
    """Return a schema without the titles that pydantic makes of names: they cost tokens."""
    if isinstance(schema, list):
        return [_plain_schema(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    plain: dict[str, Any] = {}
    for key, inner in schema.items():
        if key in ("properties", "$defs"):
            plain[key] = {name: _plain_schema(one) for name, one in inner.items()}
        elif key in ("default", "const", "enum", "examples"):
            plain[key] = inner  # values, which may have a title of their own
        elif key != "title":
            plain[key] = _plain_schema(inner)
    return plain
