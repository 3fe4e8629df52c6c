"""Tasks and results as they are stored: pickled, read back by the user who wrote them.

A task is two pickles: its class with what most tasks of a list have in common, names of fields and
all, and the values of its fields. The first is made and stored once for a whole list; pickling a
model costs ten times as much as pickling the values of its fields.
"""

from __future__ import annotations

import copyreg
import functools
import pickle
from collections.abc import Sequence
from typing import Any

from nanoeval_core import pickling
from nanoeval_core.errors import ConfigError, RolloutSystemError
from nanoeval_core.task import Task

from nanoeval_runner._failures import load_failure
from nanoeval_runner._queue.rows import NewTask

PLAIN = frozenset({str, int, float, bool, bytes, type(None)})
"""Types of fields that copies may share, and of results that need no check."""

_IN_TWO = b"2"  # a plain pickle begins with another byte
_LENGTH = 4

_set_fields_set, _set_extra, _set_private = (
    getattr(Task, f"__pydantic_{name}__").__set__ for name in ("fields_set", "extra", "private")
)
"""What sets a model's attributes beside its fields: `__setattr__` looks them up each time."""


def dump_tasks(tasks: Sequence[Task], eval_name: str, *, by_value: bool) -> list[NewTask]:
    """Return what the queue stores of each task: question id, attempt id, class, values of fields.

    Class and values together are the payload that `load_task` reads.

    Args:
        by_value: put classes that another process could not import into the payload.

    Raises:
        NotPicklableError: names eval, task and field.
        ConfigError: an id holds half a character.
    """
    rows = []
    cls: type[Task] | None = None
    fields_set: set[str] | None = None
    names: list[str] = []
    pickled_class = b""
    dumps, protocol = pickle.dumps, pickle.HIGHEST_PROTOCOL
    for task in tasks:
        if type(task) is not cls:
            cls, fields_set = type(task), None
            is_plain = not by_value and is_pickled_as_models_are(cls)
        values: bytes | None = None
        if is_plain and not task.__pydantic_extra__ and not task.__pydantic_private__:
            try:
                fields = task.__dict__
                if task.__pydantic_fields_set__ != fields_set or list(fields) != names:
                    state = task.__getstate__()
                    state["__dict__"] = list(fields)
                    shared = dumps((cls, state), protocol)
                    pickled_class = _IN_TWO + len(shared).to_bytes(_LENGTH) + shared
                    fields_set, names = task.__pydantic_fields_set__, state["__dict__"]
                values = dumps(tuple(fields.values()), protocol)
            except Exception:  # noqa: BLE001, S110  again below, with an error that names the field
                pass
        question_id = task.question_id
        if not question_id.isascii():
            check_text(question_id, f"question_id of a task of eval {eval_name!r}")
        if values is not None:
            rows.append((question_id, task.attempt_id, pickled_class, values))
        else:
            what = f"task {task.name!r} of eval {eval_name!r}"
            whole = pickling.dumps(task, what=what, by_value=by_value, renew_locks=True)
            rows.append((question_id, task.attempt_id, b"", whole))
    return rows


@functools.cache
def is_pickled_as_models_are(cls: type[Task]) -> bool:
    """Return whether a class leaves it to pydantic how it is pickled and copied."""
    return (
        cls.__getstate__ is Task.__getstate__
        and cls.__setstate__ is Task.__setstate__
        and cls.__reduce_ex__ is object.__reduce_ex__
        and cls.__reduce__ is object.__reduce__
        and not hasattr(cls, "__getnewargs_ex__")
        and not hasattr(cls, "__getnewargs__")
        and cls not in copyreg.dispatch_table
    )


def copy_of(task: Task) -> Task:
    """Return a copy that shares nothing with `task` that could be changed."""
    cls, fields = type(task), task.__dict__
    for value in fields.values():
        if type(value) not in PLAIN:
            break
    else:
        if (
            task.__pydantic_private__ is None
            and task.__pydantic_extra__ is None
            and is_pickled_as_models_are(cls)
        ):
            # What `model_copy` does, without a search for what could be copied: for every attempt.
            plain = cls.__new__(cls)
            plain.__dict__.update(fields)
            _set_fields_set(plain, task.__pydantic_fields_set__.copy())
            _set_extra(plain, None)
            _set_private(plain, None)
            return plain
    try:
        copied: Task = pickle.loads(pickle.dumps(task, pickle.HIGHEST_PROTOCOL))
    except Exception:  # noqa: BLE001  a local class, or a lock: copied the slow way
        what = f"task {task.name!r}"
        copied = pickle.loads(pickling.dumps(task, what=what, renew_locks=True))
    return copied


@functools.lru_cache(maxsize=16)
def _common(pickled: bytes) -> tuple[type[Task], dict[str, Any]]:
    """Return a class, and the state of its tasks with the names of fields for the fields."""
    loaded: tuple[type[Task], dict[str, Any]] = pickle.loads(pickled)
    return loaded


def load_task(payload: bytes, retry_idx: int) -> Task:
    """Return the task that `dump_tasks` was given, as its retry `retry_idx`."""
    if payload.startswith(_IN_TWO):
        begin = len(_IN_TWO) + _LENGTH
        end = begin + int.from_bytes(payload[len(_IN_TWO) : begin])
        cls, common = _common(payload[begin:end])
        # What `__setstate__` does, in a third of its time: for every attempt.
        task = cls.__new__(cls)
        fields = task.__dict__
        for name, value in zip(common["__dict__"], pickle.loads(payload[end:]), strict=True):
            fields[name] = value
        _set_fields_set(task, common["__pydantic_fields_set__"].copy())
        _set_extra(task, None if common["__pydantic_extra__"] is None else {})
        _set_private(task, None if common["__pydantic_private__"] is None else {})
    else:
        task = pickle.loads(payload)
        assert isinstance(task, Task)  # noqa: S101
    if task.retry_idx != retry_idx:
        task = task.model_copy(update={"retry_idx": retry_idx})
    return task


def check_text(text: str, what: str) -> None:
    """Raise `ConfigError` for a text that no encoding of Unicode has, which no file could hold."""
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigError(
            f"{what} holds half a character (a lone surrogate): {text!a}. Decode the bytes "
            "it was read from as what they are, or with errors='replace'"
        )


def load_result(value: bytes) -> Any:
    """Return a result as `evaluate` returned it, or the system error that stands for one."""
    result = pickle.loads(value)
    if type(result) is tuple and len(result) == 2 and isinstance(result[0], RolloutSystemError):
        return load_failure(value)
    return result
