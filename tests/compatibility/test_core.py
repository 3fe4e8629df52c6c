"""`Task`, `Eval`, `RunnerArgs`, `EvalSpec` and `self_test`, as evals in use rely on them."""

from __future__ import annotations

import asyncio
import functools
import pickle
import threading
from abc import ABC
from pathlib import Path
from typing import Any

import chz
import nanoeval
import pytest
from nanoeval.errors import ConfigError
from nanoeval.eval import (
    Eval,
    EvalSpec,
    RetryableSystemError,
    RolloutSystemError,
    RunnerArgs,
    SystemErrorsNotSupported,
    Task,
    assert_no_system_errors,
)
from pydantic import PrivateAttr, ValidationError


class Noted(Task):
    note: Any = None
    group_id: str = "mine"
    run_id: str | None = None
    _secret: int = PrivateAttr(default=1)


# --- Task


def test_a_task_has_these_fields_and_no_other_public_attribute() -> None:
    task = Task(question_id="")
    assert task.model_dump() == {
        "question_id": "",
        "attempt_id": 1,
        "retry_idx": 0,
        "unsafe_skip_serialization_validation": False,
    }
    assert Task(question_id="q", attempt_id=3).name == "q.3"
    assert Noted(question_id="q").group_id == "mine"


def test_a_slash_is_refused_when_a_task_is_made_and_not_when_it_is_changed() -> None:
    with pytest.raises(ValidationError, match="contains '/'"):
        Task(question_id="a/b")
    task = Task(question_id="a")
    task.question_id = "a/b"
    assert task.name == "a/b.1"


@pytest.mark.parametrize("note", [threading.Lock(), lambda: 1, type("Local", (), {})(), {"a": [1]}])
def test_what_can_travel_is_taken(note: Any) -> None:
    assert Noted(question_id="q", note=note).note is note
    assert Noted.model_validate({"question_id": "q", "note": note}).note is note


class OneWay(Exception):
    def __init__(self, *, word: str) -> None:
        super().__init__(word)


@pytest.mark.parametrize("note", [(letter for letter in "ab"), OneWay(word="x")])
def test_what_cannot_travel_is_refused_by_name_unless_the_check_is_skipped(note: Any) -> None:
    with pytest.raises(ValidationError, match=r"task 'q\.1' can"):
        Noted(question_id="q", note=note)
    skipped = Noted(question_id="q", note=note, unsafe_skip_serialization_validation=True)
    assert skipped.note is note


def test_a_copy_keeps_private_attributes_and_is_shallow() -> None:
    first = Noted(question_id="q", note=["shared"])
    first._secret = 7
    second = first.model_copy(update={"attempt_id": 2, "retry_idx": 1})
    assert (second.name, second.retry_idx, second._secret) == ("q.2", 1, 7)
    assert second.note is first.note


# --- errors


def test_a_system_error_keeps_class_arguments_and_attributes() -> None:
    assert RetryableSystemError is RolloutSystemError
    error = RolloutSystemError("down", 3)
    error.machine = "m1"  # type: ignore[attr-defined]
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.args, copy.machine) == (RolloutSystemError, ("down", 3), "m1")


def test_results_without_system_errors_pass_as_a_list() -> None:
    task = Task(question_id="q")
    assert assert_no_system_errors([(task, 1)]) == [(task, 1)]
    with pytest.raises(SystemErrorsNotSupported, match=r"q\.1 \(down\)"):
        assert_no_system_errors([(task, RolloutSystemError("down"))])
    assert issubclass(SystemErrorsNotSupported, ValueError)


# --- Eval


@chz.chz
class Mixed(ABC, Eval[Task, int]):
    n: int = 4

    def get_name(self) -> str:
        return "mixed"

    async def get_tasks(self) -> list[Task]:
        return [Task(question_id=f"q{i}") for i in range(self.n)]

    async def evaluate(self, task: Task) -> int:
        return 1

    async def get_summary(self, results: list[tuple[Task, int]]) -> dict[str, Any]:
        return {"mean": sum(r for _, r in results) / max(1, len(results))}


@chz.chz
class MixedLast(Eval[Task, int], ABC):
    pass


def test_an_eval_is_no_abc_and_what_it_lacks_is_told_when_a_run_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOEVAL_STATE_DIR", str(tmp_path))

    @chz.chz
    class Half(MixedLast):
        def get_name(self) -> str:
            return "half"

    runner = RunnerArgs(enable_slackbot=False, should_backup=False)
    with pytest.raises(ConfigError, match="Half does not define get_tasks, evaluate, get_summary:"):
        asyncio.run(nanoeval.run(EvalSpec(eval=Half(), runner=runner)))


@pytest.mark.parametrize("method", ["get_name", "process_invalid"])
def test_methods_without_a_default_say_so(method: str) -> None:
    arguments = [Task(question_id="q")] if method == "process_invalid" else []
    with pytest.raises(NotImplementedError):
        getattr(Eval(), method)(*arguments)
    for name, given in (("get_tasks", []), ("evaluate", [None]), ("get_summary", [[]])):
        with pytest.raises(NotImplementedError):
            asyncio.run(getattr(Eval(), name)(*given))


def test_chz_features_that_evals_use() -> None:
    @chz.chz
    class Fancy(Mixed):
        n: int = chz.field(default=2, doc="How many.")
        stamps: list[int] = chz.field(default_factory=list)

        @chz.init_property
        def group(self) -> str:
            self.stamps.append(1)
            return f"group-{len(self.stamps)}"

        @functools.cached_property
        def lock(self) -> asyncio.Lock:
            return asyncio.Lock()

        @chz.validate
        def _check(self) -> None:
            assert self.n > 0, "n must be positive"

    fancy = Fancy()
    assert (fancy.group, fancy.group, fancy.n) == ("group-1", "group-1", 2)
    assert fancy.lock is fancy.lock
    with pytest.raises(AssertionError, match="n must be positive"):
        Fancy(n=0)


TASKS = [Task(question_id=q, attempt_id=a) for q in "ab" for a in (1, 2)]
LOST = RolloutSystemError("lost")


def test_the_default_full_summary_leaves_system_errors_out_of_the_metrics() -> None:
    results: list[Any] = [(TASKS[0], 1), (TASKS[1], 0), (TASKS[2], LOST), (TASKS[3], LOST)]
    summary = asyncio.run(Mixed().get_full_summary(results))
    assert summary["mean"] == 0.5
    assert summary["num_tasks"] == 1  # question ids with a valid result
    assert summary["is_valid"] is False
    assert "metrics_including_errors" not in summary

    @chz.chz
    class Replacing(Mixed):
        def process_invalid(self, task: Task) -> int:
            return 0

    including = asyncio.run(Replacing().get_full_summary(results))["metrics_including_errors"]
    assert including == {"mean": 0.25, "num_tasks": 2}


def test_metrics_including_errors_are_there_without_errors_and_not_with_none_results() -> None:
    summary = asyncio.run(Mixed().get_full_summary([(TASKS[0], 1)]))
    assert summary["metrics_including_errors"] == {"mean": 1.0, "num_tasks": 1}
    assert summary["is_valid"] is True

    @chz.chz
    class Silent(Mixed):
        async def get_summary(self, results: list[tuple[Task, Any]]) -> dict[str, Any]:
            return {}

    silent: list[Any] = [(TASKS[0], None)]
    assert "metrics_including_errors" not in asyncio.run(Silent().get_full_summary(silent))


# --- self_test


def test_self_test_looks_at_progress_and_at_summaries_with_system_errors() -> None:
    calls: list[Any] = []

    @chz.chz
    class Watched(Mixed):
        async def update_progress(self, partial_results: Any, pbar: Any) -> None:
            pbar.set_postfix(corr=0)
            calls.append(("progress", len(partial_results)))

        async def get_full_summary(self, results: Any) -> dict[str, Any]:
            assert all(isinstance(result, RolloutSystemError) for _, result in results)
            calls.append(("summary", len(results)))
            return {}

        async def get_summary(self, results: Any) -> dict[str, Any]:
            raise AssertionError("self_test calls get_full_summary only")

    asyncio.run(Watched(n=5).self_test())
    assert calls == [("progress", 0), ("summary", 0), ("summary", 2), ("summary", 5)]


def test_self_test_forgives_summaries_that_take_no_system_errors() -> None:
    calls: list[int] = []

    @chz.chz
    class Strict(Mixed):
        async def get_full_summary(self, results: Any) -> dict[str, Any]:
            calls.append(len(results))
            return {"n": len(assert_no_system_errors(results))}

    asyncio.run(Strict().self_test())
    assert calls == [0, 2]


@pytest.mark.parametrize("name", ["", "no tasks"])
def test_self_test_wants_a_name_and_tasks(name: str) -> None:
    @chz.chz
    class Empty(Mixed):
        def get_name(self) -> str:
            return name

        async def get_tasks(self) -> list[Task]:
            return [] if name else await super().get_tasks()

    with pytest.raises(AssertionError):
        asyncio.run(Empty().self_test())


# --- RunnerArgs and EvalSpec


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"slack_name": "me", "enable_slackbot": False}, ValueError),
        ({"num_processes": 2}, AssertionError),
        ({"num_processes": -1, "experimental_use_multiprocessing": True}, AssertionError),
        ({"n_tasks": 0}, AssertionError),
        ({"n_tasks": -3}, AssertionError),
        ({"concurrency": 0}, ValueError),
        ({"concurrency": -1}, ValueError),
    ],
)
def test_refusals_have_the_kinds_that_callers_catch(arguments: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=rf"RunnerArgs\.{next(iter(arguments))}="):
        RunnerArgs(**arguments)


def test_what_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RunnerArgs(num_processes=0).num_processes == 0
    assert RunnerArgs(concurrency=None).concurrency is None
    monkeypatch.setenv("NANOEVAL_ALLOW_ZERO_CONCURRENCY", "1")
    assert RunnerArgs(concurrency=0).concurrency == 0


def test_a_budget_of_nothing_says_that_none_is_allowed() -> None:
    with pytest.raises(ConfigError, match="budget_tokens=0: give a positive number, or None"):
        RunnerArgs(budget_tokens=0)


def test_a_subclass_changes_defaults() -> None:
    @chz.chz
    class DefaultRunnerArgs(RunnerArgs):
        concurrency: int = 5

    assert DefaultRunnerArgs().concurrency == 5
    assert chz.Blueprint(DefaultRunnerArgs).apply({"max_retries": 0}).make().max_retries == 0


def test_a_spec_names_its_model(caplog: pytest.LogCaptureFixture) -> None:
    named = EvalSpec(eval=Mixed(), runner=RunnerArgs(model_name="m"))
    assert asyncio.run(named.model_name()) == "m"
    assert not caplog.records
    assert asyncio.run(EvalSpec(eval=Mixed(), runner=RunnerArgs()).model_name()) == "nanoeval"
    assert "model_name is not set" in caplog.text
