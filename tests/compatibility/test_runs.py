"""What can be seen of a run, in this process and in a pool."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chz
import pytest
from nanoeval.eval import EvalSpec, RunnerArgs
from nanoeval.evaluation import run, run_eval_in_database, validate
from nanoeval.json_recorder import json_recorder
from nanoeval.library_config import get_library_config, set_library_config
from nanoeval.recorder import dummy_recorder
from nanoeval.setup import global_exit_stack

from tests.compatibility.evals import Diary, Hooks

MODES = [
    pytest.param({}, id="in process"),
    pytest.param({"experimental_use_multiprocessing": True, "num_processes": 2}, id="in a pool"),
]


@pytest.fixture(autouse=True)
def restored_config(folders: Path) -> Iterator[None]:
    former = get_library_config()
    yield
    set_library_config(former)


def lines(path: Path, what: str | None = None) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [entry for entry in found if what in (None, entry["what"])]


def spec(eval: Any, **runner: Any) -> EvalSpec:
    runner = {"enable_slackbot": False, "retry_backoff": 0.0, "should_backup": False} | runner
    runner.setdefault("recorder", dummy_recorder())
    return EvalSpec(eval=eval, runner=RunnerArgs(**runner))


@pytest.mark.parametrize("mode", MODES)
def test_a_run_from_its_tasks_to_its_summary(tmp_path: Path, mode: dict[str, Any]) -> None:
    diary = Diary(path=tmp_path / "diary", attempts=2)
    summary = asyncio.run(run(spec(diary, **mode)))
    assert len(lines(diary.path, "get_tasks")) == 1
    names = sorted(f"q{i}.{a}" for i in range(3) for a in range(2))
    assert sorted(name for name, *_ in summary["results"]) == names
    # Summaries get the task as it was queued, whatever an attempt did to its copy.
    assert all(parts == [] for _, _, parts, _, _ in summary["results"])
    assert {entry["task"] for entry in lines(diary.path, "evaluate")} == set(names)
    # What get_tasks left on the eval is in the copies of executors.
    assert {tuple(e["state"]) for e in lines(diary.path, "evaluate")} == {("set by get_tasks",)}
    progress = [entry["n"] for entry in lines(diary.path, "progress")]
    assert progress[-1] == 6
    assert {entry["pid"] for entry in lines(diary.path, "progress")} == {os.getpid()}
    assert len(lines(diary.path, "enter")) == len(lines(diary.path, "leave"))
    assert 1 <= len(lines(diary.path, "enter")) <= 2
    assert isinstance(summary["run_id"], str)


@pytest.mark.parametrize("mode", MODES)
def test_what_happens_to_copies_does_not_reach_the_callers_eval(
    tmp_path: Path, mode: dict[str, Any]
) -> None:
    diary = Diary(path=tmp_path / "diary", grows=True)
    asyncio.run(run(spec(diary, concurrency=1, **mode)))
    assert diary.state == ["set by get_tasks"]
    seen = [len(entry["state"]) for entry in lines(diary.path, "evaluate")]
    assert max(seen) > 1, "attempts of one executor share its copy"


@pytest.mark.parametrize("mode", MODES)
def test_only_system_errors_are_retried_each_time_with_the_task_as_queued(
    tmp_path: Path, mode: dict[str, Any]
) -> None:
    diary = Diary(path=tmp_path / "diary", fail={"q1": 2, "q2": 9})
    summary = asyncio.run(run(spec(diary, max_retries=2, **mode)))
    found = {name: [retry, result, kind] for name, retry, _, result, kind in summary["results"]}
    assert found == {
        "q0.0": [0, "result of q0", "str"],
        "q1.0": [2, "result of q1", "str"],
        "q2.0": [2, "down 2", "RolloutSystemError"],
    }
    retries = [(entry["task"], entry["retry"]) for entry in lines(diary.path, "evaluate")]
    assert sorted(retries) == [
        ("q0.0", 0), ("q1.0", 0), ("q1.0", 1), ("q1.0", 2), ("q2.0", 0), ("q2.0", 1), ("q2.0", 2)
    ]  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_another_exception_ends_the_eval_and_is_in_a_group(
    tmp_path: Path, mode: dict[str, Any]
) -> None:
    diary = Diary(path=tmp_path / "diary", raises="key")
    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(run(spec(diary, **mode)))
    found: list[BaseException] = list(caught.value.exceptions)
    while any(isinstance(error, BaseExceptionGroup) for error in found):
        found = [
            leaf
            for error in found
            for leaf in (error.exceptions if isinstance(error, BaseExceptionGroup) else [error])
        ]
    assert any(isinstance(leaf, KeyError) or isinstance(leaf.__cause__, KeyError) for leaf in found)


@pytest.mark.parametrize("mode", MODES)
def test_the_recorder_is_current_while_the_context_is_entered(
    tmp_path: Path, mode: dict[str, Any]
) -> None:
    diary = Diary(path=tmp_path / "diary", records_in_context=True)
    asyncio.run(run(spec(diary, **mode)))
    assert lines(diary.path, "recorder")


def test_an_exception_of_the_drivers_part_comes_out_as_itself(tmp_path: Path) -> None:
    @chz.chz
    class Broken(Diary):
        async def get_full_summary(self, results: Any) -> dict[str, Any]:
            raise LookupError("no summary today")

    with pytest.raises(LookupError, match="no summary today"):
        asyncio.run(run(spec(Broken(path=tmp_path / "diary"))))


def test_no_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        asyncio.run(run(spec(Diary(path=tmp_path / "diary", n=0))))


def test_the_first_tasks_are_cut_before_they_are_shuffled(tmp_path: Path) -> None:
    diary = Diary(path=tmp_path / "diary", n=10)
    summary = asyncio.run(run(spec(diary, n_tasks=4, shuffle=True)))
    assert sorted(name for name, *_ in summary["results"]) == [f"q{i}.0" for i in range(4)]


def test_tasks_with_the_same_ids_count_once(tmp_path: Path) -> None:
    @chz.chz
    class Twice(Diary):
        async def get_tasks(self) -> Any:
            return [*await super().get_tasks(), *await super().get_tasks()]

    summary = asyncio.run(run(spec(Twice(path=tmp_path / "diary"))))
    assert len(summary["results"]) == 3


@pytest.mark.parametrize("mode", MODES)
def test_hooks_are_called(tmp_path: Path, mode: dict[str, Any]) -> None:
    hooks = Hooks(tmp_path / "hooks")
    set_library_config(hooks)
    diary = Diary(path=tmp_path / "diary", fail={"q1": 1})
    summary = asyncio.run(
        run(spec(diary, enable_slackbot=True, slack_name="ada", model_name="m1", **mode))
    )
    groups = [(entry["sample"], entry["group"]) for entry in lines(hooks.path, "enter")]
    wanted = [("q0", "0.0"), ("q1", "0.0"), ("q1", "0.1"), ("q2", "0.0")]
    assert sorted(group for group in groups if group[0] in ("q0", "q1", "q2")) == wanted
    assert len(lines(hooks.path, "leave")) == len(groups)
    messages = lines(hooks.path, "notification")
    assert "started" in messages[0]["message"]
    for word in ("diary", summary["run_id"], "m1"):
        assert word in messages[0]["message"]
    assert "results" in messages[-1]["extra"]
    assert [entry["username"] for entry in lines(hooks.path, "slack")] == ["ada"]
    if mode:
        pids = {entry["pid"] for entry in lines(hooks.path, "setup_logging")}
        assert {entry["pid"] for entry in lines(diary.path, "evaluate")} <= pids


def test_a_failure_is_notified_with_its_traceback(tmp_path: Path) -> None:
    hooks = Hooks(tmp_path / "hooks")
    set_library_config(hooks)
    with pytest.raises(ExceptionGroup):
        asyncio.run(run(spec(Diary(path=tmp_path / "diary", raises="key"), enable_slackbot=True)))
    last = lines(hooks.path, "notification")[-1]
    assert "failed" in last["message"]
    assert "KeyError" in last["extra"]


def test_without_the_slackbot_nobody_is_notified(tmp_path: Path) -> None:
    hooks = Hooks(tmp_path / "hooks")
    set_library_config(hooks)
    asyncio.run(run(spec(Diary(path=tmp_path / "diary"))))
    assert not lines(hooks.path, "notification")
    assert not lines(hooks.path, "slack")


def test_validate_is_a_run_that_records_and_notifies_nothing(tmp_path: Path) -> None:
    hooks = Hooks(tmp_path / "hooks")
    set_library_config(hooks)
    args = {"enable_slackbot": True, "slack_name": "ada", "recorder": json_recorder()}
    summary = asyncio.run(validate(spec(Diary(path=tmp_path / "diary"), **args)))
    assert len(summary["results"]) == 3
    assert not lines(hooks.path, "notification")
    assert not any((tmp_path / "records").glob("*.jsonl"))


@pytest.mark.parametrize("mode", MODES)
def test_runs_inside_the_exit_stack_share_executors_and_can_be_entered_again(
    tmp_path: Path, mode: dict[str, Any]
) -> None:
    async def main() -> None:
        for round in range(2):
            async with global_exit_stack:
                first = await run(spec(Diary(path=tmp_path / f"a{round}"), **mode))
                again = await run_eval_in_database(first["run_id"])
                assert again["results"] == first["results"]
                assert "run_id" not in again
                both = await asyncio.gather(
                    run(spec(Diary(path=tmp_path / f"b{round}"), concurrency=1, **mode)),
                    run(spec(Diary(path=tmp_path / f"c{round}"), concurrency=1, **mode)),
                )
                assert [len(one["results"]) for one in both] == [3, 3]
        if mode:
            pids = [
                {entry["pid"] for entry in lines(tmp_path / f"{name}{round}", "evaluate")}
                for round in range(2)
                for name in "abc"
            ]
            assert len(set.union(*pids[:3])) <= 2
            assert not set.union(*pids[:3]) & set.union(*pids[3:])

    asyncio.run(main())


def test_an_unknown_run_is_refused() -> None:
    async def main() -> None:
        async with global_exit_stack:
            await run_eval_in_database("nothing")

    with pytest.raises(AssertionError):
        asyncio.run(main())


def test_the_exit_stack_is_a_real_one() -> None:
    left: list[str] = []

    @contextlib.asynccontextmanager
    async def opened(name: str) -> Any:
        yield name
        left.append(name)

    async def main() -> None:
        assert isinstance(global_exit_stack, contextlib.AsyncExitStack)
        for _ in range(2):
            async with global_exit_stack as stack:
                assert await stack.enter_async_context(opened("a")) == "a"
                global_exit_stack.callback(left.append, "b")
        assert left == ["b", "a"] * 2

    asyncio.run(main())


@pytest.mark.parametrize("mode", MODES)
def test_partial_summaries_hold_what_there_is(tmp_path: Path, mode: dict[str, Any]) -> None:
    diary = Diary(path=tmp_path / "diary", fail={"q1": 3})
    asyncio.run(run(spec(diary, summary_interval=0.05, retry_backoff=0.3, max_retries=1, **mode)))
    assert [entry["n"] for entry in lines(diary.path, "summary")][-1] == 3


def test_summary_results_come_in_the_text_order_of_their_ids(tmp_path: Path) -> None:
    diary = Diary(path=tmp_path / "diary", n=12)
    summary = asyncio.run(run(spec(diary)))
    names = [name for name, *_ in summary["results"]]
    assert names == sorted(names)


def test_a_cancelled_error_of_evaluate_is_a_system_error(tmp_path: Path) -> None:
    @chz.chz
    class Cancelling(Diary):
        async def evaluate(self, task: Any) -> str:
            if task.question_id == "q1":
                raise asyncio.CancelledError
            return "fine"

    summary = asyncio.run(run(spec(Cancelling(path=tmp_path / "diary"), max_retries=1)))
    kinds = {name: (retry, kind) for name, retry, _, _, kind in summary["results"]}
    assert kinds["q1.0"] == (1, "RolloutSystemError")


def test_none_is_a_result_and_local_classes_pass(tmp_path: Path) -> None:
    class Mine:
        def __str__(self) -> str:
            return "mine"

    @chz.chz
    class Odd(Diary):
        async def evaluate(self, task: Any) -> Any:
            return {"q0": None, "q1": Mine(), "q2": lambda: 3}[task.question_id]

    summary = asyncio.run(run(spec(Odd(path=tmp_path / "diary"))))
    assert [kind for *_, kind in summary["results"]] == ["NoneType", "Mine", "function"]


@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_failed_is_resumed_with_what_it_had(
    tmp_path: Path, mode: dict[str, Any]
) -> None:
    from nanoeval.bin.resume import resume

    switch = tmp_path / "broken"
    switch.touch()
    diary = Diary(path=tmp_path / "diary", switch=switch)
    with pytest.raises(ExceptionGroup):
        asyncio.run(run(spec(diary, concurrency=1, run_set_id="mine", **mode)))
    switch.unlink()

    async def finish() -> list[dict[str, Any]]:
        async with global_exit_stack:
            assert await resume("nothing-of-this-name") == []
            return await resume(run_set_id="mine", resume_completed_evals=False)

    (summary,) = asyncio.run(finish())
    assert sorted(name for name, *_ in summary["results"]) == ["q0.0", "q1.0", "q2.0"]
    assert "run_id" not in summary
    done = [entry["task"] for entry in lines(diary.path, "evaluated")]
    assert sorted(done) == ["q0.0", "q1.0", "q2.0"], "what was finished is not run again"
