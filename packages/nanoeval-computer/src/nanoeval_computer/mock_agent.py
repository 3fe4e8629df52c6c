"""`MockAgentSolver`: an agent without a model, that plays what it is given."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import chz
from nanoeval_solvers.api_model import APIModel, record_reply
from nanoeval_solvers.reply import Reply, ToolCall
from nanoeval_solvers.tools import Tool

from nanoeval_computer.agent_tools import SUBMIT
from nanoeval_computer.agents import ToolAgentSolver
from nanoeval_computer.task import ComputerTask

__all__ = ["MockAgentSolver", "ScriptedTurn"]

ScriptedTurn = str | Sequence[tuple[str, Mapping[str, Any]]]
"""A turn: what the agent says, or the tools that it calls: `[("bash", {"command": "ls"})]`."""


@chz.chz
class MockAgentSolver(ToolAgentSolver):
    """Plays a script, and then submits. Everything but the model is real."""

    model: APIModel = chz.field(default=APIModel(model="mock"), doc="Never asked.")
    scripts: Mapping[str, Sequence[ScriptedTurn]] = chz.field(
        default_factory=dict, doc="Question id, or * for all others → its turns."
    )

    def shortname(self) -> str:
        return "mock-agent"

    @contextlib.asynccontextmanager
    async def _context(self) -> AsyncIterator[None]:
        yield

    async def ask(self, task: ComputerTask, messages: list[Any], tools: Sequence[Tool]) -> Reply:
        script = self.scripts.get(task.question_id, self.scripts.get("*", ()))
        number = sum(message["role"] == "assistant" for message in messages) - sum(
            message["role"] == "assistant" for message in task.prompt
        )
        turn: ScriptedTurn = script[number] if number < len(script) else [(SUBMIT, {})]
        reply = _said(turn) if isinstance(turn, str) else _called(turn, number)
        record_reply(messages, reply, model="mock")
        return reply


def _said(text: str) -> Reply:
    return Reply(text=text, finish_reason="stop", message={"role": "assistant", "content": text})


def _called(turn: Sequence[tuple[str, Mapping[str, Any]]], number: int) -> Reply:
    calls = tuple(
        ToolCall(id=f"call_{number}_{place}", name=name, arguments=dict(arguments))
        for place, (name, arguments) in enumerate(turn)
    )
    sent = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
        }
        for call in calls
    ]
    message = {"role": "assistant", "content": None, "tool_calls": sent}
    return Reply(text="", finish_reason="tool_calls", tool_calls=calls, message=message)
