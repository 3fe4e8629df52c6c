"""Agents in real machines: their tools, limits and ends, and how they are graded."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import chz
import pytest
from nanoeval import EvalSpec, RolloutSystemError, RunnerArgs, run
from nanoeval.errors import GraderError
from nanoeval.setup import global_exit_stack
from nanoeval.solvers.api_model import APIModel
from nanoeval.solvers.computer_tasks.agent_tools import compacted, computer_tools
from nanoeval.solvers.computer_tasks.agents import ToolAgentSolver
from nanoeval.solvers.computer_tasks.code_execution_interface import (
    ComputerConfiguration,
    ComputerInterface,
    RuntimeConfig,
)
from nanoeval.solvers.computer_tasks.grading import check_solutions, fresh_machine
from nanoeval.solvers.computer_tasks.limits import LimitsHelper, TotalTime
from nanoeval.solvers.computer_tasks.local import LocalRuntime
from nanoeval.solvers.computer_tasks.machine import MachineLost
from nanoeval.solvers.computer_tasks.mock_agent import MockAgentSolver
from nanoeval.solvers.computer_tasks.pausable_timer import NamedTimeoutError, PausableTimer
from nanoeval.solvers.computer_tasks.solver import PythonCodingEval
from nanoeval.solvers.computer_tasks.steps import AgentResult, FinalResult, Step
from nanoeval.solvers.computer_tasks.task import ComputerTask, Grade
from nanoeval.solvers.reply import Reply, ToolCall
from nanoeval.solvers.testing import ModelServer, Scripted
from nanoeval.solvers.tools import Tool, tool
from nanoeval_computer import grading
from nanoeval_recorder import in_memory_recorder

from tests.support.fake_machine import FakeComputer, FakeRuntime

pytestmark = pytest.mark.timeout(180)  # real machines, on a busy host


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "LOG", "BACKUP"):
        monkeypatch.setenv(f"NANOEVAL_{name}_DIR", str(tmp_path / name))


class Answer(ComputerTask):
    """Solved by a file that holds 42."""

    async def _setup(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> None:
        await computer.upload(b"what is 6 * 7?", "/root/question")

    async def grade(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> Grade:
        shown = await computer.send_shell_command("cat /root/ANSWER.txt", idempotent=True)
        return Grade(score=float(shown.output.strip() == b"42"), grader_log=str(shown.output))

    async def play_solution(self, computer: ComputerInterface, runtime_config: Any) -> None:
        await computer.upload(b"42", "/root/ANSWER.txt")


def answer(kind: type[ComputerTask] = Answer, **fields: Any) -> ComputerTask:
    prompt: Any = [{"role": "user", "content": "answer the question"}]
    return kind(question_id="q", prompt=prompt, **fields)


@chz.chz
class OneTask(PythonCodingEval):
    task: ComputerTask = chz.field(default_factory=answer)

    def get_name(self) -> str:
        return "one"

    async def get_instances(self) -> list[ComputerTask]:
        return [self.task]


def run_agent(
    solver: ToolAgentSolver, task: ComputerTask | None = None, **runner: Any
) -> tuple[dict[str, Any], list[Any]]:
    """The report, and the recorded events of a run of one task."""
    recorder = in_memory_recorder()
    args = {"max_retries": 0, "enable_slackbot": False, **runner}
    spec = EvalSpec(
        eval=OneTask(solver=solver, task=task or answer()),
        runner=RunnerArgs(recorder=recorder, **args),
    )
    return asyncio.run(run(spec)), list(recorder.events)


def result_of(events: Sequence[Any]) -> dict[str, Any]:
    extras = [event.data for event in events if event.type == "extra"]
    (result,) = [e for e in extras if e.get("type") == "final_result_successful"]
    return result  # type: ignore[no-any-return]


def mock(*turns: Any, **fields: Any) -> MockAgentSolver:
    return MockAgentSolver(runtime=LocalRuntime(), scripts={"*": turns}, **fields)


def bash(command: str) -> list[tuple[str, Mapping[str, Any]]]:
    return [("bash", {"command": command})]


def test_the_agent_is_short_enough_to_be_copied() -> None:
    assert len(inspect.getsource(ToolAgentSolver).splitlines()) < 150


def test_a_model_works_with_tools_until_it_submits() -> None:
    replies = [
        Scripted(tool_calls=(("bash", {"command": "cat question"}),)),
        "Let me think.",
        Scripted(tool_calls=(("python", {"code": "print(6 * 7)"}), ("nope", {}), *bash("\0"))),
        # What comes after `submit` is not done.
        Scripted(tool_calls=(("submit", {"answer": "42"}), *bash("echo 41 > ANSWER.txt"))),
    ]
    with ModelServer(replies=replies) as server:
        server.strict = True
        model = APIModel(model="m", base_url=server.url)
        solver = ToolAgentSolver(runtime=LocalRuntime(), model=model)
        report, events = run_agent(solver)
        last = server.requests[-1].body["messages"]
    assert report["accuracy"] == 1.0
    assert [message["role"] for message in last] == [
        *("system", "user", "assistant", "tool", "assistant", "user"),
        *("assistant", "tool", "tool", "tool"),
    ]
    assert last[3]["content"] == "what is 6 * 7?"
    assert last[7]["content"].strip() == "42"
    assert "There is no tool 'nope'" in last[8]["content"]
    assert "null byte" in last[9]["content"]
    result = result_of(events)
    assert (result["ended"], result["turns"], result["grade"]["score"]) == ("submitted", 4, 1.0)
    assert result["total_tokens"] > 0
    steps = [e.data for e in events if e.type == "extra" and e.data.get("type") == "step"]
    assert [step["convo"]["calls"] for step in steps] == [
        ["bash"],
        [],
        ["python", "nope", "bash"],
        ["submit", "bash"],
    ]
    assert sum(event.type == "sampling" for event in events) == 4


@pytest.mark.parametrize(
    ("fields", "turns", "ended", "limit"),
    [
        ({"limits": LimitsHelper(max_actions=2)}, [bash("true")] * 9, "max_steps", 2),
        ({"limits": LimitsHelper(max_time_seconds=3)}, [bash("sleep 600")], "max_time", 3),
        ({"nudges": 1}, ["hm", "hm", "hm"], "no_call", None),
    ],
    ids=["steps", "time", "no call"],
)
def test_limits_are_outcomes_and_are_graded(
    fields: dict[str, Any], turns: list[Any], ended: str, limit: float | None
) -> None:
    solved = bash("echo 42 > ANSWER.txt")
    report, events = run_agent(mock(solved, *turns, **fields))
    result = result_of(events)
    assert (result["ended"], result["limit"]) == (ended, limit)
    assert report["accuracy"] == 1.0
    assert result["max_steps_reached"] is (ended == "max_steps")
    assert result["max_time_reached"] is (ended == "max_time")
    if limit is not None:
        assert result["used"] >= limit


@pytest.mark.parametrize(
    ("fields", "ended"), [({"max_tokens": 20}, "max_tokens"), ({"max_cost": 0.5}, "max_cost")]
)
def test_tokens_and_cost_are_limited(fields: dict[str, Any], ended: str) -> None:
    reply = Scripted(
        tool_calls=(("bash", {"command": "true"}),),
        usage={"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10},
    )
    with ModelServer(reply=reply) as server:
        prices: Any = {"m": {"prompt": 50_000.0, "completion": 50_000.0}}
        model = APIModel(model="m", base_url=server.url, prices=prices)
        solver = ToolAgentSolver(runtime=LocalRuntime(), model=model, **fields)
        _, events = run_agent(solver)
    result = result_of(events)
    assert result["ended"] == ended
    assert result["total_tokens"] == 10 * result["turns"]
    assert result["cost"] == pytest.approx(0.5 * result["turns"])


def test_a_context_that_is_too_long_is_compacted_and_ends_when_it_cannot() -> None:
    too_long = Scripted(status=400, text="too long", code="context_length_exceeded")
    call = Scripted(tool_calls=(("bash", {"command": "true"}),))
    submit = Scripted(tool_calls=(("submit", {"answer": "42"}),))
    with ModelServer(replies=[call, call, call, too_long, submit]) as server:
        server.strict = True
        model = APIModel(model="m", base_url=server.url)
        report, events = run_agent(ToolAgentSolver(runtime=LocalRuntime(), model=model))
        last = server.requests[-1].body["messages"]
    assert report["accuracy"] == 1.0
    assert "left out" in last[1]["content"]
    assert [m["role"] for m in last] == ["system", "user", *["assistant", "tool"] * 2]
    with ModelServer(replies=[call], reply=too_long) as server:
        model = APIModel(model="m", base_url=server.url)
        _, events = run_agent(ToolAgentSolver(runtime=LocalRuntime(), model=model))
    assert result_of(events)["ended"] == "max_tokens"


def test_a_chat_of_one_turn_is_not_compacted_further() -> None:
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    assert compacted(messages, 1) is None


@chz.chz
class Careful(MockAgentSolver):
    """Denies what removes, and brings a tool of its own."""

    def tools(self, task: ComputerTask, computer: ComputerInterface) -> list[Tool]:
        async def hint() -> str:
            """Get a hint."""
            return "multiply"

        return [*computer_tools(task, computer), tool(hint)]

    async def approve(self, task: ComputerTask, call: ToolCall) -> str | None:
        return "not that" if "rm " in str(call.arguments) else None


def test_calls_can_be_denied_and_tools_added() -> None:
    script: Any = [bash("rm question"), [("hint", {})], bash("cat question > seen; ls")]
    solver = Careful(runtime=LocalRuntime(), scripts={"*": script})
    _, events = run_agent(solver)
    last = [event.data["prompt"] for event in events if event.type == "sampling"][-1]
    shown = [message["content"] for message in last if message["role"] == "tool"]
    assert shown == ["not that", "multiply", "question\nseen\n"]


def test_what_the_model_is_shown_in_part_is_recorded_whole_once() -> None:
    _, events = run_agent(mock(bash("seq 1 20000")))
    whole = "".join(f"{n}\n" for n in range(1, 20001))
    assert [event.data["text"] for event in events if event.type == "file"] == [whole]
    (extra,) = [e.data for e in events if e.type == "extra" and "tool_result" in e.data]
    assert "whole" in extra["tool_result"]


class LosesItsMachine(FakeComputer):
    """Answers until the agent ends it."""

    async def send_shell_command(self, cmd: str, *, idempotent: bool = False) -> Any:
        if cmd == "kill 1" or self.stopped:
            self.stopped = True
            raise MachineLost("machine fake is lost")
        return await super().send_shell_command(cmd, idempotent=idempotent)


def test_a_lost_machine_ends_the_rollout_and_scores_0() -> None:
    solver = MockAgentSolver(
        runtime=FakeRuntime(computer=LosesItsMachine()), scripts={"*": [bash("kill 1")]}
    )
    report, events = run_agent(solver, max_retries=16)
    assert result_of(events)["ended"] == "machine_lost"
    assert "machine fake is lost" in result_of(events)["grade"]["grader_log"]
    assert report["accuracy"] == 0.0
    assert report["is_valid"]
    assert report["aggregations"]["num_attempts"] == 1


class SlowGrader(Answer):
    async def grade(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> Grade:
        await asyncio.Event().wait()
        raise AssertionError


class BrokenGrader(Answer):
    async def grade(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> Grade:
        raise KeyError("a bug of the grader")


@pytest.mark.parametrize("kind", [SlowGrader, BrokenGrader])
def test_a_grader_that_fails_is_no_score(kind: type[ComputerTask]) -> None:
    solver = mock(limits=LimitsHelper(grading_timeout=1))

    async def rollout() -> None:
        async for _ in solver.run(answer(kind)):
            pass

    report, events = run_agent(solver, answer(kind), max_retries=1)
    assert report["missing_tasks"] == ["q"]
    errors = [event.data for event in events if event.type == "error"]
    assert all("grading failed" in str(error) for error in errors)
    assert len(errors) == 2
    assert issubclass(GraderError, RolloutSystemError)


@chz.chz
class ShortTotal(LimitsHelper):
    """Its total is too short for the grader: one that a `LimitsHelper` takes has ten seconds."""

    def total_time(self) -> TotalTime:
        return TotalTime(0.5)


def test_a_rollout_has_a_limit_as_a_whole() -> None:
    runtime = FakeRuntime(computer=FakeComputer())
    solver = MockAgentSolver(runtime=runtime, limits=ShortTotal(), scripts={"*": [bash("true")]})
    report, events = run_agent(solver, answer(SlowGrader))
    assert report["missing_tasks"] == ["q"]
    (error,) = [event.data["message"] for event in events if event.type == "error"]
    assert error.startswith("the rollout took longer than total_sample_timeout=0.5 seconds")


def test_all_that_is_counted_is_one_limit() -> None:
    async def go() -> None:
        total = TotalTime(0.2)
        async with total.counted():
            await asyncio.sleep(0.15)
        await asyncio.sleep(0.2)  # the reader of the steps
        with pytest.raises(NamedTimeoutError, match="max_time"):
            async with total.counted(), PausableTimer("max_time", 0.0):
                await asyncio.sleep(1)
        with pytest.raises(RolloutSystemError, match=r"total_sample_timeout=0\.2"):
            async with total.counted():
                await asyncio.Event().wait()

    asyncio.run(go())


def test_the_clock_stops_during_a_wait_for_a_rate_limit() -> None:
    busy = Scripted(status=429, text="busy", headers={"retry-after-ms": "1500"})
    replies = [busy, Scripted(tool_calls=(("submit", {"answer": "42"}),))]
    with ModelServer(replies=replies) as server:
        model = APIModel(model="m", base_url=server.url)
        limits = LimitsHelper(max_time_seconds=1)
        runtime = FakeRuntime(computer=FakeComputer())
        solver = ToolAgentSolver(runtime=runtime, model=model, limits=limits)
        _, events = run_agent(solver)
    result = result_of(events)
    assert result["ended"] == "submitted"
    assert result["seconds"] < 1
    assert len(server.requests) == 2


def test_a_machine_that_does_not_start_is_a_system_error() -> None:
    solver = MockAgentSolver(runtime=FakeRuntime(computer=FakeComputer("/elsewhere")))
    report, events = run_agent(solver)
    assert report["missing_tasks"] == ["q"]
    (error,) = [event.data for event in events if event.type == "error"]
    assert error["message"].startswith("no machine: ")


@chz.chz
class FailsAtFirst(ToolAgentSolver):
    """Its first attempt ends in a system error, after a reply that cost something."""

    async def ask(self, task: ComputerTask, messages: list[Any], tools: Sequence[Tool]) -> Reply:
        reply = await super().ask(task, messages, tools)
        if task.retry_idx == 0:
            raise RolloutSystemError("the first attempt fails")
        return reply


def test_the_cost_of_a_retried_rollout_is_counted() -> None:
    reply = Scripted(
        tool_calls=(("submit", {"answer": "42"}),),
        usage={"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10},
    )
    with ModelServer(reply=reply) as server:
        model = APIModel(model="m", base_url=server.url)
        solver = FailsAtFirst(runtime=LocalRuntime(), model=model)
        report, events = run_agent(solver, max_retries=1)
    assert report["accuracy"] == 1.0
    assert report["usage"]["requests"] == 2
    assert report["usage"]["prompt_tokens"] == 16
    assert sum(event.type == "sampling" for event in events) == 2


@pytest.mark.parametrize("has_folder", [False, True])
def test_two_runs_of_a_run_set_ask_twice_unless_they_share_a_cache(
    tmp_path: Path, has_folder: bool
) -> None:
    with ModelServer(reply=Scripted(tool_calls=(("submit", {"answer": "42"}),))) as server:
        cache = str(tmp_path / "cache") if has_folder else None
        model = APIModel(model="m", base_url=server.url, cache=cache)
        solver = ToolAgentSolver(runtime=FakeRuntime(computer=FakeComputer()), model=model)
        runner = RunnerArgs(recorder=in_memory_recorder(), enable_slackbot=False)

        async def go() -> None:
            async with global_exit_stack:
                for _ in range(2):
                    await run(EvalSpec(eval=OneTask(solver=solver), runner=runner))

        asyncio.run(go())
        assert len(server.requests) == (1 if has_folder else 2)


WRONG = "def double(x):\n    return x + 1\n"
HIDDEN = b"from solution import double\n\ndef test_double():\n    assert double(21) == 42\n"
CHEATS = {
    "conftest": (
        "cat > conftest.py <<'E'\nimport pytest\n@pytest.hookimpl(hookwrapper=True)\n"
        "def pytest_runtest_makereport(item, call):\n    outcome = yield\n"
        "    outcome.get_result().outcome = 'passed'\nE"
    ),
    "sitecustomize": (
        "cat > sitecustomize.py <<'E'\nimport solution\nsolution.double = lambda x: 2 * x\nE"
    ),
    "PATH": (
        "mkdir bin && printf '#!/bin/sh\\necho 1 passed' > bin/python && chmod +x bin/python && "
        "echo 'PATH=~/bin:$PATH' >> ~/.bashrc && echo 'PATH=~/bin:$PATH' >> ~/.bash_profile"
    ),
    ".bashrc": "echo 'echo 1 passed; exit 0' | tee -a .bashrc > .bash_profile",
    "background writer": (
        "(while :; do echo 'def test_double(): pass' > hidden_test.py; sleep 0.01; done) "
        "> /dev/null 2>&1 & disown"
    ),
}


class Double(ComputerTask):
    in_place: bool = False

    async def _setup(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> None:
        await computer.upload(WRONG.encode(), "/root/solution.py")

    async def grade(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> Grade:
        if self.in_place:
            return await self._test(computer)
        async with fresh_machine(self, computer, ["/root/solution.py"]) as fresh:
            return await self._test(fresh)

    async def _test(self, computer: ComputerInterface) -> Grade:
        await computer.upload(HIDDEN, "/root/hidden_test.py")
        command = "PYTHONPATH=. bash -lc 'PATH=$PATH:$PYTHONS; python -m pytest hidden_test.py'"
        ran = await computer.send_shell_command(command)
        passed = ran.exit_code == 0 and b"1 passed" in ran.output
        return Grade(score=float(passed), grader_log=ran.unicode_output_best_effort)


def double(in_place: bool) -> ComputerTask:
    return answer(
        Double, environment={"PYTHONS": os.path.dirname(sys.executable)}, in_place=in_place
    )


def test_an_honest_agent_is_graded_in_a_fresh_machine() -> None:
    right = bash("printf 'def double(x):\\n    return 2 * x\\n' > solution.py")
    report, events = run_agent(mock(right), double(in_place=False))
    assert report["accuracy"] == 1.0, result_of(events)["grade"]
    report, _ = run_agent(mock(), double(in_place=False))
    assert report["accuracy"] == 0.0


@pytest.mark.parametrize("cheat", CHEATS)
def test_cheating_agents_score_0(cheat: str) -> None:
    report, events = run_agent(mock(bash(CHEATS[cheat])), double(in_place=False))
    assert report["accuracy"] == 0.0, result_of(events)["grade"]


@pytest.mark.parametrize("cheat", [name for name in CHEATS if name != "background writer"])
def test_the_same_cheats_work_where_the_agent_was(cheat: str) -> None:
    report, events = run_agent(mock(bash(CHEATS[cheat])), double(in_place=True))
    assert report["accuracy"] == 1.0, result_of(events)["grade"]


def test_only_declared_regular_files_reach_the_fresh_machine() -> None:
    async def go() -> list[str]:
        task = ComputerConfiguration()
        async with LocalRuntime().run(task) as computer:
            await computer.check_shell_command(
                "echo a > a; echo b > b; ln -s /etc/passwd link; mkdir folder; mkfifo fifo"
            )
            paths = [f"/root/{name}" for name in ("a", "link", "folder", "fifo", "missing")]
            async with fresh_machine(task, computer, paths) as fresh:
                return (await fresh.check_shell_command("ls")).output.decode().split()

    assert asyncio.run(go()) == ["a"]


class NeverEnds(FakeComputer):
    """Its files are FIFOs that nobody writes to, and were files when they were looked at."""

    runtime = FakeRuntime()

    async def download(self, file: str) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError


def test_what_cannot_be_read_to_its_end_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grading, "COPY_SECONDS", 0.01)

    async def go() -> None:
        async with fresh_machine(answer(), NeverEnds(), ["/root/file"]) as fresh:
            assert isinstance(fresh, FakeComputer)
            assert list(fresh.files) == ["/root/question"]

    asyncio.run(go())


def test_a_fresh_machine_needs_a_machine_that_knows_its_runtime() -> None:
    async def go() -> None:
        async with fresh_machine(answer(), FakeComputer(), []):
            pass

    with pytest.raises(TypeError, match="knows its runtime"):
        asyncio.run(go())


class GivesItAway(Answer):
    async def grade(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> Grade:
        return Grade(score=1, grader_log="always")


class CannotBeSolved(Answer):
    async def play_solution(self, computer: ComputerInterface, runtime_config: Any) -> None:
        pass


def test_solutions_must_score_1_and_doing_nothing_0() -> None:
    tasks = [answer(), answer(GivesItAway), answer(CannotBeSolved)]
    assert asyncio.run(check_solutions(tasks, LocalRuntime())) == [
        "task 'q.1': doing nothing scores 1.0, not 0",
        "task 'q.1': its own solution scores 0.0, not 1",
    ]


def test_the_tools_of_two_machines_are_two_sets_of_tools() -> None:
    async def go() -> None:
        computers = [FakeComputer(), FakeComputer()]
        sets = [computer_tools(answer(), computer) for computer in computers]
        for tools in sets:
            await tools[0].run({"command": "ls"})
        assert [computer.commands for computer in computers] == [[("ls", False)]] * 2

    asyncio.run(go())


def test_results_of_agents_are_results() -> None:
    result = AgentResult(grade=Grade(score=1, grader_log=""), ended="max_time", limit=1, used=2)
    assert isinstance(result, FinalResult)
    assert not isinstance(result, Step)
    assert result.max_time_reached
    assert AgentResult.model_validate(result.model_dump()) == result
