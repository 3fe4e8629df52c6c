"""Tools, and chats that stay valid whatever the model sends, against a strict endpoint."""

from __future__ import annotations

import hashlib
import pickle
import re
from pathlib import Path
from typing import Any, Literal

import pytest
from nanoeval_core.errors import ConfigError
from nanoeval_solvers.api_model import APIModel
from nanoeval_solvers.testing import ModelServer, Scripted
from nanoeval_solvers.tools import Dialogue, Image, Tool, ToolError, ToolResult, shortened, tool

from tests.support.solver_attempts import Attempt

API = Literal["chat", "responses"]


@tool
async def add(a: int, b: int = 1) -> int:
    """Add two numbers.

    Use it for sums.

    Args:
        a: the first
            of them.
        b: the second.

    Returns:
        their sum.
    """
    return a + b


@tool
async def fail(words: str) -> str:
    """Fail."""
    raise ToolError(words)


@tool
async def plot() -> list[Any]:
    """Draw a plot."""
    return ["a plot", Image(b"\x89PNG")]


@tool(name="long", description="Say much.")
async def much() -> str:
    return "a" * 20_000 + "b" * 20_000


TOOLS = (add, fail, plot, much)


def test_a_schema_is_made_of_signature_and_docstring() -> None:
    assert add.schema == {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Add two numbers.\n\nUse it for sums.",
            "parameters": {
                "type": "object",
                "properties": {
                    "a": {"type": "integer", "description": "the first of them."},
                    "b": {"type": "integer", "description": "the second.", "default": 1},
                },
                "required": ["a"],
                "additionalProperties": False,
            },
        },
    }
    assert (much.name, much.description) == ("long", "Say much.")


class Machine:
    async def bash(self, command: str) -> str:
        """Run a command."""
        return f"ran {command}"


def test_each_tool_has_a_schema_of_its_own() -> None:
    async def look(at: str) -> str:
        """Look at a file."""
        return at

    one, other = tool(look), tool(look)
    one.parameters["properties"]["at"]["description"] = "its path"
    assert "description" not in other.schema["function"]["parameters"]["properties"]["at"]


def test_tools_are_functions_bound_methods_and_can_be_pickled() -> None:
    bash = tool(Machine().bash)
    assert bash.parameters["required"] == ["command"]
    for one in (add, bash):
        again: Tool = pickle.loads(pickle.dumps(one))
        assert again.schema == one.schema
    assert pickle.loads(pickle.dumps(add)) is add
    assert Attempt(add(2, b=3)).result == 5


async def untyped(x) -> None:  # type: ignore[no-untyped-def]
    """No type."""


async def silent(x: int) -> None: ...


def synchronous(x: int) -> None:
    """Not async."""


async def any_number(*x: int) -> None:
    """Not to be described."""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (untyped, "parameter 'x' has no type: annotate it"),
        (silent, "has no docstring"),
        (synchronous, "define it with `async def`"),
        (any_number, "*x cannot be described: name each parameter"),
        (Machine.bash, "wrap a method when it is bound"),
    ],
)
def test_what_is_no_tool_is_refused(function: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        tool(function)


def test_two_tools_of_one_name_are_refused(model_server: ModelServer) -> None:
    with pytest.raises(ConfigError, match="two are named 'add'"):
        Dialogue([], [add, add])


def talk(
    server: ModelServer, script: list[Any], api: API = "chat", turns: int = 2, **options: Any
) -> tuple[Dialogue, list[tuple[ToolResult, ...]]]:
    """A dialogue of so many turns with a strict endpoint that plays `script`."""
    server.strict = True
    server.replies.extend(script)
    server.reply = "That is all."
    dialogue = Dialogue([{"role": "user", "content": "What is 2 + 3?"}], TOOLS, **options)
    effort = "low" if api == "responses" else None
    model = APIModel(model="m", base_url=server.url, api=api, reasoning_effort=effort)

    async def work() -> list[tuple[ToolResult, ...]]:
        async with model:
            return [
                await dialogue.step(
                    await model.ask(dialogue.messages, sample="q", tools=TOOLS, tool_choice="auto")
                )
                for _ in range(turns)
            ]

    return dialogue, Attempt(work()).result


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_call_is_executed_and_its_result_sent(model_server: ModelServer, api: API) -> None:
    called = Scripted(text="Let me add.", tool_calls=(("add", {"a": 2, "b": 3}),), reasoning="Hm.")
    dialogue, results = talk(model_server, [called], api)
    assert [[(one.value, one.text, one.problem) for one in turn] for turn in results] == [
        [(5, "5", None)],
        [],
    ]
    assert [message["role"] for message in dialogue.messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    first, second = (request.body for request in model_server.requests)
    assert len(first["tools"]) == 4
    assert first["tool_choice"] == "auto"
    assert model_server.requests[1].prompt == "5"
    if api == "chat":
        assert second["messages"][1]["reasoning_content"] == "Hm."
    else:
        thought = {"type": "reasoning", "summary": [], "encrypted_content": "c2VjcmV0"}
        assert second["input"][1] == thought
        assert [item.get("type") for item in second["input"][2:]] == [
            None,
            "function_call",
            "function_call_output",
        ]


TABLE: list[tuple[str, tuple[Any, ...], list[tuple[str, str | None]]]] = [
    ("parallel", (("add", {"a": 1}), ("add", {"a": 2})), [("2", None), ("3", None)]),
    ("text for a number", (("add", {"a": "4"}),), [("5", None)]),
    ("trailing quotes", (("add", '{"a": 4}"\''),), [("5", None)]),
    ("an object as text", (("add", '"{\\"a\\": 4}"'),), [("5", None)]),
    ("a line break in a text", (("fail", '{"words": "a\nb"}'),), [("a\nb", "failed")]),
    ("invalid JSON", (("add", '{"a": 4'),), [("Not executed: the arguments are", "arguments")]),
    ("two objects", (("add", '{"a": 4}{"a": 5}'),), [("text after their end", "arguments")]),
    ("a list", (("add", "[4]"),), [("must be a JSON object, not [4]", "arguments")]),
    ("a number", (("add", "4"),), [("must be a JSON object, not 4", "arguments")]),
    ("null", (("long", "null"),), [("40000 bytes in all", None)]),
    ("empty", (("long", ""),), [("40000 bytes in all", None)]),
    ("empty, but needed", (("add", ""),), [("a: Field required", "failed")]),
    ("one too many", (("add", {"a": 1, "c": 2}),), [("c: Extra inputs", "failed")]),
    ("deeply nested", (("add", "[" * 100_000),), [("not valid JSON", "arguments")]),
    ("unknown tool", (("subtract", {"a": 4}),), [("The tools are: add, fail", "unknown_tool")]),
    ("no name", ({"name": None, "arguments": {}},), [("There is no tool ''", "unknown_tool")]),
    ("no id", ({"name": "add", "arguments": {"a": 1}, "id": None},) * 2, [("2", None)] * 2),
    ("double id", ({"name": "add", "arguments": {"a": 1}, "id": "x"},) * 2, [("2", None)] * 2),
    ("a tool that fails", (("fail", {"words": "no disk"}),), [("no disk", "failed")]),
    ("images", (("plot", {}), ("add", {"a": 1})), [("1 image, shown below", None), ("2", None)]),
]


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(
    ("calls", "expected"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_the_chat_stays_valid_whatever_is_called(
    model_server: ModelServer,
    calls: tuple[Any, ...],
    expected: list[tuple[str, str | None]],
    api: API,
) -> None:
    if api == "responses" and any(isinstance(call, dict) and not call["name"] for call in calls):
        calls = tuple({**call, "name": ""} for call in calls)
    scripted = Scripted(text=None, tool_calls=calls)
    _, results = talk(model_server, [scripted, scripted], api, turns=3)
    for turn in results[:2]:
        assert [one.problem for one in turn] == [problem for _, problem in expected]
        for result, (words, _) in zip(turn, expected, strict=True):
            assert words in result.text
    assert len(model_server.requests) == 3


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_calls_are_read_from_streams(model_server: ModelServer, api: API) -> None:
    calls = (("add", {"a": 1}), ("add", '{"a": "two"}'), ("fail", {"words": "no"}))
    scripted = Scripted(text="Let me see.", tool_calls=calls, reasoning="Hm. So.")
    model_server.stream_only = True
    dialogue, results = talk(model_server, [scripted], api)
    assert [(one.value, one.problem) for one in results[0]] == [
        (2, None),
        (None, "failed"),
        (None, "failed"),
    ]
    assert dialogue.messages[1]["content"] == "Let me see."


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_what_was_cut_off_is_not_executed(model_server: ModelServer, api: API) -> None:
    cut = Scripted(text="", tool_calls=(("add", {"a": 1}),), finish_reason="length")
    _, results = talk(model_server, [cut], api)
    assert results[0][0].problem == "truncated"
    assert results[0][0].value is None
    assert "cut off" in model_server.requests[1].prompt


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("text", ["", "I think it is 5."])
def test_a_model_that_calls_nothing_is_nudged_and_then_left(
    model_server: ModelServer, api: API, text: str
) -> None:
    called = Scripted(tool_calls=(("add", {"a": 1}),))
    tokens = {"completion_tokens": 9, "output_tokens": 9}
    said = Scripted(text=text, usage=tokens)
    dialogue, _ = talk(model_server, [said, called, said, said], api, turns=4, nudges=1)
    assert dialogue.ended == "no_call"
    assert model_server.requests[1].prompt == "Call one of the tools to go on."
    assert dialogue.turns == 4


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(
    ("scripted", "ended"),
    [
        (Scripted(text="", finish_reason="content_filter"), "refused"),
        (Scripted(text=None, refusal="I will not."), "refused"),
        (Scripted(status=400, text="x", code="context_length_exceeded"), "context_length"),
    ],
)
def test_what_the_endpoint_refuses_ends_it(
    model_server: ModelServer, scripted: Scripted, ended: str, api: API
) -> None:
    dialogue, _ = talk(model_server, [scripted], api, turns=1)
    assert dialogue.ended == ended
    assert len(dialogue.messages) == 1


def test_a_call_may_be_denied(model_server: ModelServer) -> None:
    async def approve(call: Any) -> str | None:
        return None if call.arguments["a"] < 5 else "Too large for you."

    calls = (("add", {"a": 4}), ("add", {"a": 5}))
    _, results = talk(model_server, [Scripted(tool_calls=calls)], approve=approve)
    assert [(one.text, one.problem) for one in results[0]] == [
        ("5", None),
        ("Too large for you.", "denied"),
    ]


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_images_follow_the_batch(model_server: ModelServer, api: API) -> None:
    calls: Any = (("plot", {}), ("add", {"a": 1}))
    talk(model_server, [Scripted(text=None, tool_calls=calls)], api)
    body = model_server.requests[1].body
    last = (body.get("messages") or body["input"])[-1]
    assert last["role"] == "user"
    shown = last["content"][1]["image_url"]
    assert (shown if api == "responses" else shown["url"]) == "data:image/png;base64,iVBORw=="


def test_what_the_model_was_shown_in_part_is_recorded_whole(model_server: ModelServer) -> None:
    model_server.replies.append(Scripted(tool_calls=(("long", {}), ("add", {"a": 1}))))
    model = APIModel(model="m", base_url=model_server.url)
    dialogue = Dialogue([{"role": "user", "content": "?"}], TOOLS)

    async def work() -> tuple[ToolResult, ...]:
        return await dialogue.step(await model.ask(dialogue.messages, sample="q", tools=TOOLS))

    attempt = Attempt(work())
    (extra,) = attempt.recorder.extras
    whole = "a" * 20_000 + "b" * 20_000
    assert extra["tool_result"]["whole"] == f"sha256:{hashlib.sha256(whole.encode()).hexdigest()}"
    assert extra["tool_result"]["call"] == attempt.result[0].call.id


def test_a_dialogue_is_given_again_from_the_cache(
    model_server: ModelServer, tmp_path: Path
) -> None:
    call = Scripted(text="Let me see.", tool_calls=(("add", {"a": 2}), ("add", "[1")))
    model_server.strict = True
    model_server.reply = "Enough."
    model = APIModel(model="m", base_url=model_server.url, cache=str(tmp_path))

    async def work() -> list[Any]:
        dialogue = Dialogue([{"role": "user", "content": "?"}], TOOLS, nudges=0)
        while dialogue.ended is None:
            await dialogue.step(await model.ask(dialogue.messages, sample="q", tools=TOOLS))
        return dialogue.messages

    model_server.replies.append(call)
    first = Attempt(work()).result
    assert Attempt(work()).result == first
    assert len(model_server.requests) == 2


def test_another_exception_of_a_tool_is_nobody_elses(model_server: ModelServer) -> None:
    @tool
    async def broken() -> None:
        """Break."""
        raise KeyError("machine")

    model_server.replies.append(Scripted(tool_calls=(("broken", {}),)))
    model = APIModel(model="m", base_url=model_server.url)
    dialogue = Dialogue([{"role": "user", "content": "?"}], [broken])

    async def work() -> None:
        await dialogue.step(await model.ask(dialogue.messages, sample="q", tools=[broken]))

    with pytest.raises(KeyError, match="machine"):
        Attempt(work())


def test_a_tool_can_be_named_as_the_choice(model_server: ModelServer) -> None:
    choices: dict[API, Any] = {
        "chat": {"type": "function", "function": {"name": "add"}},
        "responses": {"type": "function", "name": "add"},
    }
    for api, choice in choices.items():
        model = APIModel(model="m", base_url=model_server.url, api=api)
        Attempt(model.ask([{"role": "user", "content": "?"}], sample="q", tool_choice="add"))
        assert model_server.requests[-1].body["tool_choice"] == choice


@pytest.mark.parametrize("character", ["a", "é", "😀"])
def test_head_and_tail_of_what_is_long(character: str) -> None:
    text = shortened(character * 30_000, 1000)
    assert 980 <= len(text.encode()) <= 1000
    assert text.startswith(character * 100)
    assert text.endswith(character * 100)
    assert f"{30_000 * len(character.encode())} bytes in all" in text
    assert shortened(character * 240, 1000) == character * 240


def test_reasoning_in_its_spellings(model_server: ModelServer) -> None:
    from nanoeval_solvers._api.wire import decode, encode

    call = {"id": "1", "function": {"name": "add", "arguments": "{}"}}
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    details = [{"type": "reasoning.text", "text": "Hm.", "signature": "s"}]
    for fields in (
        {"reasoning_content": "Hm."},
        {"reasoning": "Hm."},
        {"reasoning_details": details},
        {"content": [thinking, {"type": "text", "text": "So."}]},
    ):
        message = {"role": "assistant", "content": "So.", "tool_calls": [call], **fields}
        reply = decode("chat", encode({"choices": [{"message": message}]}))
        assert (reply.reasoning, reply.text) == ("Hm.", "So.")
        sent_back = {name: value for name, value in fields.items() if name != "content"}
        assert {name: reply.message.get(name) for name in sent_back} == sent_back
