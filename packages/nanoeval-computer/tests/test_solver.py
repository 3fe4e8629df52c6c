"""The life of a computer task: who is called when, what is recorded, what is retried."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import chz
import pytest
from nanoeval import EvalSpec, RolloutSystemError, RunnerArgs, resume, run
from nanoeval.asyncio_utils import generator_with_cleanup
from nanoeval.solvers.computer_tasks.code_execution_interface import ComputerInterface
from nanoeval.solvers.computer_tasks.simple_solver import DummySolver, SimpleSolver
from nanoeval.solvers.computer_tasks.solver import (
    DummyPythonCodingSolver,
    PythonCodingEval,
    PythonCodingSolver,
    simple_timer,
    strip_all_metadata,
)
from nanoeval.solvers.computer_tasks.steps import FinalResult, FinalResultWithException, Step
from nanoeval.solvers.computer_tasks.task import ComputerTask, Grade
from nanoeval_recorder import in_memory_recorder
from pydantic import BaseModel

from tests.support.fake_machine import (
    FailsUntil,
    FakeRuntime,
    NumberEval,
    NumberSolver,
    OwnEvaluate,
    number_task,
)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "LOG", "BACKUP"):
        monkeypatch.setenv(f"NANOEVAL_{name}_DIR", str(tmp_path / name))


def spec(eval: PythonCodingEval, **runner: Any) -> tuple[EvalSpec, Any]:
    recorder = in_memory_recorder()
    args = {"max_retries": 2, "enable_slackbot": False, **runner}
    return EvalSpec(eval=eval, runner=RunnerArgs(recorder=recorder, **args)), recorder


def events(recorder: Any, kind: str) -> list[dict[str, Any]]:
    return [event.data for event in recorder.events if event.type == kind]


def test_a_run_starts_machines_grades_in_them_and_sums_up() -> None:
    a_spec, recorder = spec(NumberEval(solver=NumberSolver(number=1), n_tries=2))
    report = asyncio.run(run(a_spec))
    assert report["accuracy"] == 1.0
    assert report["aggregations"]["num_attempts"] == 4
    assert report["length_stats"]["frac_correct"] == 1.0
    assert report["solver"] == {}
    assert report["is_valid"]
    assert len(events(recorder, "match")) == 4


def test_attempts_are_counted_from_0_and_all_of_the_first_come_first() -> None:
    tasks = asyncio.run(NumberEval(n_tries=2).get_tasks())
    assert [task.name for task in tasks] == ["a.0", "b.0", "a.1", "b.1"]


def test_the_generator_is_closed_at_its_result(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    a_spec, _ = spec(NumberEval(solver=NumberSolver(trace=str(trace)), names=["a"]))
    asyncio.run(run(a_spec))
    assert trace.read_text() == "cleaned up\n"


def test_a_machine_that_is_still_open_at_the_result_is_disposed_of() -> None:
    runtime = FakeRuntime()

    async def go() -> None:
        async with generator_with_cleanup(
            NumberSolver(computer_runtime=runtime).run(number_task())
        ) as steps:
            await anext(steps)

    asyncio.run(go())
    assert runtime.calls[-1] == "left with GeneratorExit"


@chz.chz
class Scripted(PythonCodingSolver):
    """Yields or raises what it is given."""

    script: Sequence[Any] = ()
    started: list[int] = chz.field(default_factory=list)

    def shortname(self) -> str:
        return "scripted"

    async def run(self, task: ComputerTask) -> AsyncGenerator[Step | FinalResult, None]:
        self.started.append(task.retry_idx)
        for item in self.script:
            if isinstance(item, BaseException):
                raise item
            yield item.model_copy()


WON = FinalResult(grade=Grade(score=1, grader_log="won"))


def test_a_solver_without_a_result_ends_the_eval() -> None:
    a_spec, _ = spec(NumberEval(solver=Scripted()))
    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(run(a_spec))
    assert "without a FinalResult" in str(caught.value.exceptions[0])


def test_system_errors_and_cancellation_inside_are_retried_on_a_new_machine() -> None:
    for error in (RolloutSystemError("no machine"), asyncio.CancelledError()):
        a_spec, _ = spec(NumberEval(solver=Scripted(script=[error]), names=["a"]))
        report = asyncio.run(run(a_spec))
        assert report["missing_tasks"] == ["a"]
        assert not report["is_valid"]
        assert report["metrics_including_errors"]["aggregations"]["num_system_error"] == 1


def test_the_result_that_older_releases_had_for_an_error_is_one() -> None:
    old = FinalResultWithException(exception=ValueError("no machine"))
    a_spec, _ = spec(NumberEval(solver=Scripted(script=[old]), names=["a"]))
    report = asyncio.run(run(a_spec))
    breakdown = report["metrics_including_errors"]["aggregations"]["error_breakdown"]
    assert breakdown == {"no machine": 1}


class Conversation(BaseModel):
    messages: list[Any]
    metadata: dict[str, Any] = {}


class Message(BaseModel):
    id: str
    content: str
    metadata: dict[str, Any] = {}
    author: Any = None
    status: str = "finished"
    end_turn: bool | None = None
    recipient: str = "all"


class Author(BaseModel):
    role: str


def conversation(n: int) -> Conversation:
    return Conversation(
        messages=[
            Message(id=str(i), content=f"m{i}", metadata={"x": i}, author=Author(role="user"))
            for i in range(n)
        ],
        metadata={"y": 1},
    )


def a_step(convo: Any) -> Step:
    return Step(convo=convo, grade=None, elapsed=timedelta(seconds=1))


def test_steps_are_recorded_with_their_last_messages_and_without_metadata() -> None:
    given = conversation(8)
    script = [a_step(given), a_step(None), a_step(["a", "b"]), WON]
    a_spec, recorder = spec(NumberEval(solver=Scripted(script=script), names=["a"]))
    asyncio.run(run(a_spec))
    steps = [extra for extra in events(recorder, "extra") if "type" in extra]
    assert [step["type"] for step in steps] == ["step"] * 3 + ["final_result_successful"]
    messages = steps[0]["convo"]["messages"]
    assert [message["id"] for message in messages] == ["3", "4", "5", "6", "7"]
    assert not messages[0]["metadata"]
    assert not steps[0]["convo"]["metadata"]
    assert steps[2]["convo"] == ["a", "b"]


def test_a_step_that_cannot_be_recorded_does_not_end_the_rollout(
    caplog: pytest.LogCaptureFixture,
) -> None:
    a_spec, _ = spec(NumberEval(solver=Scripted(script=[a_step(object()), WON])))
    assert asyncio.run(run(a_spec))["accuracy"] == 1.0
    assert "could not be recorded" in caplog.text


def test_pretty_records_are_each_new_message_once() -> None:
    script = [a_step(conversation(2)), a_step(conversation(3)), WON]
    eval = NumberEval(solver=Scripted(script=script), names=["a"], record_pretty=True)
    a_spec, recorder = spec(eval)
    asyncio.run(run(a_spec))
    assert [s["sampled"] for s in events(recorder, "sampling")] == [["m0"], ["m1"], ["m2"]]


def test_log_at_end_records_the_graders_log_and_a_second_match() -> None:
    eval = NumberEval(solver=Scripted(script=[WON]), names=["a"], log_at_end=True)
    a_spec, recorder = spec(eval)
    asyncio.run(run(a_spec))
    assert [s["sampled"] for s in events(recorder, "sampling")] == [["won"]]
    assert [m["correct"] for m in events(recorder, "match")] == [True, True]


def test_stripping_copies_the_conversation_and_not_its_messages() -> None:
    given = conversation(1)
    stripped = strip_all_metadata(given, allowed_metadata_fields=["y"])
    assert stripped.metadata == {"y": 1} == given.metadata
    assert given.messages[0].metadata == {}
    assert strip_all_metadata(given).metadata == {}


def test_limits_and_lengths_are_summed_up() -> None:
    def result(score: float, convo: Any = None, **flags: bool) -> FinalResult:
        return FinalResult(grade=Grade(score=score, grader_log=""), convo=convo, **flags)

    results: list[Any] = [
        (number_task(str(i)), r)
        for i, r in enumerate(
            [
                result(1, conversation(4), max_time_reached=True),
                result(0, conversation(2), max_time_reached=True),
                result(0, max_steps_reached=True),
                result(0, conversation(0)),
                RolloutSystemError("lost"),
            ]
        )
    ]
    eval = NumberEval()
    assert eval._get_convo_len_stats([]) == {}
    assert eval._get_convo_len_stats(results) == {
        "frac_correct": 0.25,
        "frac_max_time": 0.25,
        "frac_max_steps": 0.25,
        "frac_max_tokens": 0.0,
        "frac_model_ended": 0.25,
        "convo_len_percentiles": [1.0, 2.0, 3.0],
    }
    with pytest.raises(AssertionError):
        asyncio.run(eval.get_summary([]))
    assert asyncio.run(eval.get_full_summary([])) == {"length_stats": {}, "solver": {}}
    assert eval.process_invalid(number_task()).grade.score == 0


@chz.chz
class Entered(DummyPythonCodingSolver):
    trace: list[str] = chz.field(default_factory=list)

    @asynccontextmanager
    async def _context(self) -> AsyncIterator[None]:
        self.trace.append("in")
        yield
        self.trace.append("out")


def test_the_eval_enters_its_solver() -> None:
    solver = Entered()

    async def go() -> None:
        async with NumberEval(solver=solver):
            assert solver.trace == ["in"]

    asyncio.run(go())
    assert solver.trace == ["in", "out"]


def test_self_test_finds_what_cannot_be_dumped() -> None:
    asyncio.run(NumberEval().self_test())

    @chz.chz
    class Bad(NumberEval):
        async def get_instances(self) -> list[ComputerTask]:
            return [number_task(environment={"x": {1, 2}})]

    with pytest.raises(TypeError):
        asyncio.run(Bad().self_test())


def test_an_eval_without_instances_says_what_is_missing() -> None:
    @chz.chz
    class Empty(PythonCodingEval):
        def get_name(self) -> str:
            return "empty"

    with pytest.raises(NotImplementedError, match="overrides neither get_instances nor get_tasks"):
        asyncio.run(Empty().get_tasks())


def test_evaluate_can_be_overridden_also_in_processes() -> None:
    for pool in ({}, {"experimental_use_multiprocessing": True, "num_processes": 2}):
        a_spec, _ = spec(OwnEvaluate(solver=DummyPythonCodingSolver()), **pool)
        assert asyncio.run(run(a_spec))["accuracy"] == 1.0


def test_a_run_of_computer_tasks_is_resumed(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    a_spec, _ = spec(NumberEval(solver=FailsUntil(flag=str(flag))), concurrency=1)
    with pytest.raises(ExceptionGroup):
        asyncio.run(run(a_spec))
    flag.touch()
    state = next((tmp_path / "STATE").rglob("*.db")).stem
    (report,) = asyncio.run(resume(state))
    assert report["accuracy"] == 1.0


def test_simple_solvers_turn_every_failure_into_a_system_error() -> None:
    @chz.chz
    class Failing(SimpleSolver):
        def shortname(self) -> str:
            return "failing"

        async def solve(self, task: ComputerTask, computer: ComputerInterface) -> None:
            raise KeyError("broken")

    async def first(solver: PythonCodingSolver) -> FinalResult | Step:
        async for step in solver.run(number_task()):
            return step
        raise AssertionError

    with pytest.raises(RolloutSystemError, match="broken"):
        asyncio.run(first(Failing(runtime=FakeRuntime())))
    runtime = FakeRuntime()
    with pytest.raises(RolloutSystemError):  # nothing to grade: the dummy writes another file
        asyncio.run(first(DummySolver(runtime=runtime)))
    assert runtime.computer.files == {"/root/test.txt": b"test"}  # type: ignore[attr-defined]


def test_a_timer_logs_and_lets_failures_pass(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), simple_timer("start"):
        pass
    with pytest.raises(KeyError), simple_timer("stop"):
        raise KeyError("x")
    assert re.search(r"start: ended, elapsed=.*stop: failed", caplog.text, re.DOTALL)
