"""`ToolAgentSolver`: a model that works on computer tasks by calling tools. Short, to be copied."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import chz
from nanoeval_core import ConfigError, GraderError, RolloutSystemError
from nanoeval_core.recorder import get_recorder
from nanoeval_solvers.api_model import APIModel, record_reply
from nanoeval_solvers.reply import Reply, ToolCall
from nanoeval_solvers.tools import Dialogue, Tool, ToolResult

from nanoeval_computer.agent_tools import SUBMIT, compacted, computer_tools
from nanoeval_computer.code_execution_interface import ComputerInterface
from nanoeval_computer.limits import MAX_TIME, LimitsHelper, run_with_startup_timeout
from nanoeval_computer.machine import MachineLost
from nanoeval_computer.pausable_timer import NamedTimeoutError, PausableTimer
from nanoeval_computer.simple_solver import ComputerRuntimeSolver
from nanoeval_computer.steps import AgentResult, Ended, FinalResult, Step, Turn
from nanoeval_computer.task import ComputerTask, Grade

__all__ = ["ToolAgentSolver"]

INSTRUCTIONS = (
    "You work on a task in a Linux machine, on your own: nobody answers questions. Use the tools "
    "to look around and to act, one step at a time, and check your work. When it is done, call "
    "submit."
)


@chz.chz
class ToolAgentSolver(ComputerRuntimeSolver):
    """Asks a model, runs the tools that it calls, until it submits or a limit is reached."""

    model: APIModel = chz.field(doc="The model that acts.")
    limits: LimitsHelper = chz.field(default_factory=LimitsHelper, doc="Turns and seconds.")
    max_tokens: int | None = chz.field(default=None, doc="Tokens of a rollout at most.")
    max_cost: float | None = chz.field(default=None, doc="Cost of a rollout at most.")
    instructions: str = chz.field(default=INSTRUCTIONS, doc="The system message.")
    tool_timeout: float = chz.field(default=180.0, doc="Seconds that one call of a tool may take.")
    nudges: int = chz.field(default=3, doc="Replies without a call in a row that are let pass.")

    def shortname(self) -> str:
        return f"tool-agent-{self.model.model.replace('/', '-')}"

    def tools(self, task: ComputerTask, computer: ComputerInterface) -> Sequence[Tool]:
        """Return the tools: bash, python and submit. Override it to add your own."""
        return computer_tools(task, computer, seconds=self.tool_timeout)

    async def approve(self, task: ComputerTask, call: ToolCall) -> str | None:
        """Return None to let a call happen, or what the model is told instead."""
        return None

    async def ask(self, task: ComputerTask, messages: list[Any], tools: Sequence[Tool]) -> Reply:
        """Return the model's next reply, or the one it gave before the run was cut off here."""
        model, sample = self.model, f"{task.name} retry {task.retry_idx}"
        if model.cache in (None, "run_set"):  # kept for `resume`, not for another run of the task
            model = chz.replace(model, cache="run_set")
            sample += f" of {get_recorder().run_spec.run_id}"
        reply = await model.ask(
            messages, sample=sample, attempt=max(1, task.attempt_id), tools=tools
        )
        record_reply(messages, reply, model=self.model.model)
        return reply

    @contextlib.asynccontextmanager
    async def _context(self) -> AsyncIterator[None]:
        async with self.model:
            yield

    async def run(self, task: ComputerTask) -> AsyncGenerator[Step | FinalResult, None]:
        total = self.limits.total_time()
        async with contextlib.AsyncExitStack() as stack:
            try:
                seconds = self.limits.validate_connection_limit
                starting = run_with_startup_timeout(self.runtime, task, seconds)
                async with total.counted():
                    computer = await stack.enter_async_context(starting)
            except (ConfigError, RolloutSystemError):
                raise
            except Exception as error:
                raise RolloutSystemError(f"no machine: {error!r}") from error
            tools = self.tools(task, computer)
            prompt: list[Any] = [{"role": "system", "content": self.instructions}, *task.prompt]
            dialogue = Dialogue(
                prompt, tools, nudges=self.nudges, approve=lambda call: self.approve(task, call)
            )
            limits: dict[Ended, float | None] = {
                "max_steps": self.limits.max_actions,
                "max_time": self.limits.max_time_seconds,
                "max_tokens": self.max_tokens,
                "max_cost": self.max_cost,
            }
            used = dict.fromkeys(limits, 0.0)
            ended: Ended | None = None
            while ended is None:
                before = len(dialogue.messages)
                results: tuple[ToolResult, ...] = ()
                # A timer for each turn: between turns the reader of the steps acts.
                timer = PausableTimer(MAX_TIME, self.limits.max_time_seconds - used["max_time"])
                try:
                    async with total.counted(), timer:
                        reply = await self.ask(task, dialogue.messages, tools)
                        usage = reply.first_usage or reply.usage
                        used["max_tokens"] += usage.total_tokens
                        used["max_cost"] += usage.cost
                        results = await dialogue.step(reply)
                except NamedTimeoutError:
                    ended = "max_time"
                except MachineLost:
                    ended = "machine_lost"
                used["max_steps"] += 1
                used["max_time"] += timer.elapsed
                if dialogue.ended == "context_length" and ended is None:
                    shorter = compacted(dialogue.messages, len(prompt))
                    if shorter is not None:
                        dialogue.messages, dialogue.ended = shorter, None
                        continue
                ended = ended or _why_ended(dialogue, results, used, limits)
                turn = Turn(
                    number=dialogue.turns,
                    calls=[result.call.name for result in results],
                    new_messages=dialogue.messages[before:],
                )
                yield Step(convo=turn, grade=None, elapsed=timedelta(seconds=timer.elapsed))
            async with total.counted():
                grade = await self.grade(task, computer)
            yield AgentResult(
                grade=grade,
                ended=ended,
                limit=limits.get(ended),
                used=used.get(ended),
                turns=dialogue.turns,
                seconds=used["max_time"],
                total_tokens=int(used["max_tokens"]),
                cost=used["max_cost"],
            )

    async def grade(self, task: ComputerTask, computer: ComputerInterface) -> Grade:
        """Have the task grade what the machine holds, in a time of its own.

        Raises:
            GraderError: it failed or took too long. That is nobody's score.
        """
        try:
            async with self.limits.enforce_timeout("grading", self.limits.grading_timeout):
                return await task.grade(computer, self.runtime.runtime_config)
        except MachineLost as error:
            return Grade(score=0.0, grader_log=f"there is nothing to grade: {error}")
        except (ConfigError, RolloutSystemError):
            raise
        except Exception as error:
            raise GraderError(f"grading failed: {error!r}") from error


def _why_ended(
    dialogue: Dialogue,
    results: Sequence[ToolResult],
    used: dict[Ended, float],
    limits: dict[Ended, float | None],
) -> Ended | None:
    if any(result.call.name == SUBMIT and result.problem is None for result in results):
        return "submitted"
    if dialogue.ended is not None:
        return "max_tokens" if dialogue.ended == "context_length" else dialogue.ended
    for name, limit in limits.items():
        if limit is not None and used[name] >= limit:
            return name
    return None
