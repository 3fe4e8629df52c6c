"""What the queue stores of a task gives the task back, whatever its class does."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from nanoeval_core import Task
from nanoeval_core.errors import ConfigError
from nanoeval_runner._payloads import copy_of, dump_tasks, load_task
from pydantic import ConfigDict, PrivateAttr


class Plain(Task):
    text: str = ""
    numbers: tuple[int, ...] = ()


class WithExtra(Task):
    model_config = ConfigDict(extra="allow")


class WithPrivate(Task):
    _seen: int = PrivateAttr(default=0)


class WithCache(Task):
    @functools.cached_property
    def length(self) -> int:
        return len(self.question_id)


class PickledItsOwnWay(Task):
    text: str = "secret"

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], "text": "left out"}}


def private() -> WithPrivate:
    task = WithPrivate(question_id="private")
    task._seen = 7
    return task


def cached() -> WithCache:
    task = WithCache(question_id="cached")
    assert task.length == 6
    return task


TASKS = [
    Task(question_id="q1"),
    Task(question_id="q2", attempt_id=2),
    Plain(question_id="q3", text="x", numbers=(1, 2)),
    Plain(question_id="q4"),
    Plain(question_id="q5", text="\ud800"),
    WithExtra.model_validate({"question_id": "q6", "more": [1]}),
    WithExtra(question_id="q7"),
    private(),
    cached(),
    Task(question_id="q8"),
]


def test_tasks_come_back_as_they_were() -> None:
    rows = dump_tasks(TASKS, "e", by_value=False)
    assert [row[:2] for row in rows] == [(t.question_id, t.attempt_id) for t in TASKS]
    for task, (_, _, pickled_class, fields) in zip(TASKS, rows, strict=True):
        loaded = load_task(pickled_class + fields, 0)
        assert type(loaded) is type(task)
        assert loaded == task
        assert loaded.__getstate__() == task.__getstate__()
        assert loaded.model_fields_set is not task.model_fields_set


def test_what_tasks_have_in_common_is_written_once() -> None:
    rows = dump_tasks([Task(question_id=f"q{i}") for i in range(9)], "e", by_value=False)
    assert len({pickled_class for _, _, pickled_class, _ in rows}) == 1
    assert all(b"Task" not in fields for _, _, _, fields in rows)


def test_loaded_tasks_share_nothing() -> None:
    ((_, _, pickled_class, fields),) = dump_tasks([Task(question_id="q")], "e", by_value=False)
    first, second = (load_task(pickled_class + fields, 0) for _ in range(2))
    first.attempt_id = 5
    assert "attempt_id" in first.model_fields_set
    assert "attempt_id" not in second.model_fields_set


def test_a_copy_shares_nothing_with_its_task() -> None:
    for task in TASKS:
        copied = copy_of(task)
        assert copied == task
        assert copied.model_fields_set is not task.model_fields_set
    queued = WithExtra(question_id="q")
    copy_of(queued).more = 1  # type: ignore[attr-defined]
    assert queued.model_extra == {}


def test_tasks_of_a_class_may_have_other_fields_set() -> None:
    listed = [Task(question_id="q1"), Task(question_id="q2", attempt_id=2), cached(), private()]
    built = Task.model_construct(attempt_id=3, question_id="q5")  # its fields in another order
    rows = dump_tasks([*listed, built], "e", by_value=False)
    assert [load_task(head + values, 0) for _, _, head, values in rows] == [*listed, built]


def test_a_class_may_say_itself_how_it_is_pickled() -> None:
    ((_, _, pickled_class, fields),) = dump_tasks(
        [PickledItsOwnWay(question_id="q")], "e", by_value=False
    )
    loaded = load_task(pickled_class + fields, 0)
    assert isinstance(loaded, PickledItsOwnWay)
    assert loaded.text == "left out"


def test_a_retry_is_the_task_with_its_number() -> None:
    ((_, _, pickled_class, fields),) = dump_tasks([Plain(question_id="q")], "e", by_value=False)
    assert load_task(pickled_class + fields, 3) == Plain(question_id="q", retry_idx=3)


def test_what_cannot_be_pickled_is_named() -> None:
    bad = Plain.model_construct(question_id="bad", attempt_id=1, retry_idx=0, text=open(__file__))  # noqa: SIM115
    try:
        with pytest.raises(ConfigError, match=r"bad\.1.*eval 'e'"):
            dump_tasks([Plain(question_id="good"), bad], "e", by_value=False)
    finally:
        bad.text.close()  # type: ignore[attr-defined]
