"""Tasks: what is refused, what is kept, and how they are restored from a dump."""

from __future__ import annotations

import asyncio
import json
import pickle
import subprocess
import sys
from abc import ABC
from typing import Any

import pytest
from nanoeval.solvers.computer_tasks.code_execution_interface import (
    ComputerInterface,
    RuntimeConfig,
)
from nanoeval.solvers.computer_tasks.task import ComputerTask, Grade, SimpleJupyterTask
from pydantic import BaseModel, PrivateAttr, ValidationError

from tests.support.fake_machine import FakeComputer, FakeJupyterComputer, NumberTask, number_task


@pytest.mark.parametrize(
    "prompt",
    [
        [],
        [{"role": "system", "content": "no"}],
        [{"role": "user", "content": "x", "colour": "red"}],
        [{"role": "user"}],
    ],
    ids=["empty", "system", "unknown key", "no content"],
)
def test_prompts_that_are_refused(prompt: list[Any]) -> None:
    with pytest.raises(ValidationError):
        NumberTask(question_id="q", prompt=prompt)


def test_prompts_that_are_taken_and_can_be_pickled() -> None:
    prompt: list[Any] = [
        {"role": "user", "content": [{"type": "text", "text": "look"}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "content": "done", "tool_call_id": "1"},
        {"role": "developer", "content": "be brief"},
    ]  # fmt: skip
    task = NumberTask(question_id="q", prompt=prompt)
    assert task.prompt == prompt
    assert pickle.loads(pickle.dumps(task)) == task


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="nope"):
        number_task(nope=1)


class Volatile(ComputerTask, ABC):
    """As clients write it: the other order of bases, private attributes, changed on the way."""

    tokens: int = 0
    group_id: str = "its own field"
    _seen: int = PrivateAttr(default=0)

    async def _setup(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> None:
        self._seen += 1
        self.tokens += 10

    async def grade(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> Grade:
        return Grade(score=1, grader_log="")

    async def check_for_valid_submission(
        self, computer: ComputerInterface, runtime_config: RuntimeConfig
    ) -> bool:
        return True


def test_tasks_change_on_the_way_and_copies_keep_private_attributes() -> None:
    task = Volatile(question_id="q", prompt=[{"role": "user", "content": "x"}])
    asyncio.run(task.setup(computer=FakeComputer(), runtime_config=RuntimeConfig()))
    copy = task.model_copy(update={"retry_idx": 1})
    assert (task.tokens, copy._seen, copy.group_id) == (10, 1, "its own field")
    assert task.supports_pokes
    assert not number_task().supports_pokes
    with pytest.raises(NotImplementedError):
        asyncio.run(number_task().check_for_valid_submission(FakeComputer(), RuntimeConfig()))


def test_the_tasks_own_set_up_comes_after_that_of_the_machine() -> None:
    task, computer = number_task(), FakeComputer("/elsewhere")
    with pytest.raises(RuntimeError):
        asyncio.run(task.setup(computer, RuntimeConfig()))
    assert task.calls == []


def test_a_task_is_restored_from_its_dump() -> None:
    task = number_task(wanted=7, environment={"A": "b"}, network_mode="unproxied")
    dump = task.model_dump()
    assert list(dump)[-2:] == ["__class_name__", "__module_name__"]
    kept = dict(dump)
    for restored in (
        ComputerTask.deserialize(dump),
        NumberTask.deserialize(json.loads(json.dumps(task.model_dump(mode="json")))),
    ):
        assert type(restored) is NumberTask
        assert restored == task
    assert dump == kept


def test_nested_tasks_name_their_class_too() -> None:
    class Holder(BaseModel):
        task: NumberTask

    assert Holder(task=number_task()).model_dump()["task"]["__class_name__"] == "NumberTask"


def test_what_cannot_be_restored_is_refused() -> None:
    dump = number_task().model_dump()
    with pytest.raises(ValidationError):
        NumberTask.model_validate(dump)
    with pytest.raises(ValueError, match="cannot restore"):
        SimpleJupyterTask.deserialize(dump)
    with pytest.raises(ValueError, match="cannot restore"):
        ComputerTask.deserialize({**dump, "__class_name__": "Nothing"})
    with pytest.raises(KeyError):
        ComputerTask.deserialize({"question_id": "q"})


def jupyter_task(grader_cell: str = "1.0", setup_cell: str = "x = 1") -> SimpleJupyterTask:
    return SimpleJupyterTask(
        question_id="q",
        prompt=[{"role": "user", "content": "x"}],
        setup_cell=setup_cell,
        grader_cell=grader_cell,
    )


@pytest.mark.parametrize(("value", "score"), [("True", 1.0), ("False", 0.0), ("0.25", 0.25)])
def test_a_jupyter_task_scores_the_last_expression(value: str, score: float) -> None:
    computer = FakeJupyterComputer(final_expression_output=value, output="log")
    grade = asyncio.run(jupyter_task().grade(computer, RuntimeConfig()))
    assert (grade.score, grade.grader_log) == (score, "log")


@pytest.mark.parametrize(
    ("value", "error"), [("'a'", ValueError), ("3", ValueError), (None, AssertionError)]
)
def test_a_jupyter_task_refuses_other_last_expressions(value: str, error: type) -> None:
    computer = FakeJupyterComputer(final_expression_output=value)
    with pytest.raises(error):
        asyncio.run(jupyter_task().grade(computer, RuntimeConfig()))


def test_a_jupyter_task_needs_a_kernel_and_valid_cells() -> None:
    with pytest.raises(AssertionError, match="needs a machine with a Jupyter kernel"):
        asyncio.run(jupyter_task().grade(FakeComputer(), RuntimeConfig()))
    with pytest.raises(ValidationError, match="no valid IPython code"):
        jupyter_task(setup_cell="def (")


def test_dumps_and_pickles_hold_the_published_paths() -> None:
    from nanoeval.solvers.computer_tasks.demo._demo_task import DemoTask

    dump = DemoTask().model_dump()
    assert dump["__module_name__"] == "nanoeval.solvers.computer_tasks.demo._demo_task"
    assert ComputerTask.deserialize(dump) == DemoTask()
    grade = Grade(score=1, grader_log="")
    pickled = pickle.dumps(grade)
    assert b"nanoeval.solvers.computer_tasks.task" in pickled
    assert pickle.loads(pickled) == grade


def test_pickles_made_without_the_meta_package_are_read_with_it() -> None:
    make = "import pickle, sys; from nanoeval_computer.task import Grade; "
    make += "sys.stdout.buffer.write(pickle.dumps(Grade(score=1, grader_log='')))"
    pickled = subprocess.run([sys.executable, "-c", make], capture_output=True, check=True).stdout
    assert b"nanoeval_computer.task" in pickled
    assert pickle.loads(pickled) == Grade(score=1, grader_log="")
