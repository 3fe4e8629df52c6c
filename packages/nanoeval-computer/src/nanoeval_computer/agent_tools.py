"""What agents need besides a model: the tools of a machine, and a chat that fits the model."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from typing import Any

from nanoeval_solvers.tools import Tool, ToolError, tool

from nanoeval_computer._inside.jupyter import JupyterMachine
from nanoeval_computer.code_execution_interface import (
    ComputerInterface,
    ExecutionResult,
    JupyterComputerInterface,
)
from nanoeval_computer.machine import Machine
from nanoeval_computer.task import ComputerTask

__all__ = ["ANSWER_FILE", "SUBMIT", "compacted", "computer_tools"]

SUBMIT = "submit"
"""The tool that ends a rollout."""

ANSWER_FILE = "ANSWER.txt"
"""Where `submit` writes an answer: in the task's `cwd`, for its grader to read."""

_CODE_FILE = "/tmp/nanoeval-code.py"
_TOO_LATE = "Not executed: the work is handed in."
_LEFT_OUT = "[Earlier turns are left out here: they no longer fit.]"


def computer_tools(
    task: ComputerTask, computer: ComputerInterface, *, seconds: float = 180.0
) -> list[Tool]:
    """Return the tools `bash`, `python` and `submit` of a machine.

    Args:
        seconds: that one call may take; then it is ended, and the model is told.
    """

    handed_in = False

    @tool
    async def bash(command: str) -> str:
        """Run a command in bash. Files stay; variables, folders and background processes do not.

        Args:
            command: what to run.
        """
        if handed_in:
            raise ToolError(_TOO_LATE)
        if "\0" in command:
            raise ToolError("Not executed: a command cannot hold a null byte.")
        if isinstance(computer, Machine | JupyterMachine):
            return _shown(await computer.send_shell_command(command, timeout=seconds), seconds)
        try:
            async with asyncio.timeout(seconds):
                return _shown(await computer.send_shell_command(command), seconds)
        except TimeoutError:
            return f"[not finished after {seconds:g} s]"

    @tool
    async def python(code: str) -> str:
        """Run Python code. What it prints is shown.

        Args:
            code: the program.
        """
        if handed_in:
            raise ToolError(_TOO_LATE)
        if isinstance(computer, JupyterComputerInterface):
            result = await computer.execute(code, timeout=int(seconds))
            final = result.final_expression_output or ""
            status = "" if result.status == "success" else f"[{result.status}]"
            return "\n".join(filter(None, (result.output, final, status)))
        shown: str = await bash(f"python3 -c {shlex.quote(code)}")
        return shown

    @tool
    async def submit(answer: str = "") -> str:
        """Hand the work in. Nothing can be done after it.

        Args:
            answer: the answer, where the task asks for one.
        """
        nonlocal handed_in
        if handed_in:
            raise ToolError(_TOO_LATE)
        if answer:
            try:
                path = f"{task.cwd.rstrip('/')}/{ANSWER_FILE}"
                await computer.upload(answer.encode(errors="replace"), path)
            except OSError as error:
                raise ToolError(str(error)) from error
        handed_in = True
        return "Submitted."

    return [bash, python, submit]


def _shown(result: ExecutionResult, seconds: float) -> str:
    lines = [result.unicode_output_best_effort]
    if getattr(result, "timed_out", False):
        lines.append(f"[ended: not finished after {seconds:g} s]")
    elif result.exit_code != 0:
        lines.append(f"[exit code {result.exit_code}]")
    return "\n".join(filter(None, lines))


def compacted(messages: Sequence[Any], prompt: int) -> list[Any] | None:
    """Return a chat without the older half of its turns, or None when it has too few.

    The first `prompt` messages stay. A turn is a reply and what follows it up to the next one,
    so calls and their results are kept, or left out, together.
    """
    starts = [
        place
        for place, message in enumerate(messages)
        if place >= prompt and message["role"] == "assistant"
    ]
    if len(starts) < 2:
        return None
    kept = starts[len(starts) // 2]
    return [*messages[: prompt - 1], _with_note(messages[prompt - 1]), *messages[kept:]]


def _with_note(message: Any) -> Any:
    """Return the last message of the prompt with a note: it cannot be followed by another one."""
    content = message["content"]
    noted: Any
    if isinstance(content, str):
        noted = content if content.endswith(_LEFT_OUT) else f"{content}\n\n{_LEFT_OUT}"
    else:
        part = {"type": "text", "text": _LEFT_OUT}
        noted = content if part in content else [*content, part]
    return {**message, "content": noted}
