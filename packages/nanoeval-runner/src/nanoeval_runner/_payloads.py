"""Tasks and results as they are stored: pickled, read back by the user who wrote them."""

from __future__ import annotations

import pickle
from typing import Any

from nanoeval_core import pickling
from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.task import Task

from nanoeval_runner._failures import load_failure


def dump_task(task: Task, eval_name: str, *, by_value: bool) -> bytes:
    """`task`, pickled.

    Args:
        by_value: put classes that another process could not import into the pickle.

    Raises:
        NotPicklableError: names eval, task and field.
    """
    if not by_value:
        try:
            return pickle.dumps(task, pickle.HIGHEST_PROTOCOL)
        except Exception:  # noqa: BLE001, S110  again below, with an error that names the field
            pass
    what = f"task {task.name!r} of eval {eval_name!r}"
    return pickling.dumps(task, what=what, by_value=by_value, renew_locks=True)


def load_task(payload: bytes, retry_idx: int) -> Task:
    task = pickle.loads(payload)
    assert isinstance(task, Task)  # noqa: S101
    if task.retry_idx != retry_idx:
        task = task.model_copy(update={"retry_idx": retry_idx})
    return task


def load_result(value: bytes) -> Any:
    """A result as `evaluate` returned it, or the system error that stands for one."""
    result = pickle.loads(value)
    if type(result) is tuple and len(result) == 2 and isinstance(result[0], RolloutSystemError):
        return load_failure(value)
    return result
