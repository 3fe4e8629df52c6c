"""What every list of tasks must satisfy before it is queued."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from nanoeval_core.errors import TaskError
from nanoeval_core.task import Task, TTask

log = logging.getLogger("nanoeval.tasks")


def check_tasks(tasks: Sequence[TTask], *, eval_name: str) -> list[TTask]:
    """Return `tasks` as a list, each known to be a `Task` with an id of its own.

    Of those that share an id the first counts; a warning names some.

    Raises:
        TaskError: the list is empty, or an item is not a `Task`.
    """
    if isinstance(tasks, (str, bytes)) or not hasattr(tasks, "__iter__"):
        raise TaskError(
            f"eval {eval_name!r}: get_tasks() must return a sequence of Task, "
            f"got {type(tasks).__name__}"
        )
    listed = list(tasks)
    if not listed:
        raise TaskError(
            f"eval {eval_name!r}: get_tasks() returned no tasks, so there is nothing to run: "
            "check its data and filters"
        )
    seen: dict[tuple[str, int], int] = {}
    checked: list[TTask] = []
    repeated: list[str] = []
    for index, task in enumerate(listed):
        if not isinstance(task, Task):
            raise TaskError(
                f"eval {eval_name!r}: get_tasks()[{index}] is a {type(task).__name__}: "
                "every task must be an instance of nanoeval.Task"
            )
        if "/" in task.question_id:  # model_construct and assignment bypass the model's check
            raise TaskError(
                f"eval {eval_name!r}: get_tasks()[{index}].question_id {task.question_id!r} "
                "contains '/': use another character, such as '-'"
            )
        first = seen.setdefault((task.question_id, task.attempt_id), index)
        if first == index:
            checked.append(task)
        else:
            repeated.append(
                f"[{index}] has the id of [{first}] (question_id={task.question_id!r}, "
                f"attempt_id={task.attempt_id})"
            )
    if repeated:
        log.warning(
            "eval %r: %d of the %d tasks of get_tasks() have the id of an earlier one and are left "
            "out: %s%s. Give repeated attempts at a question different attempt_ids, and other "
            "questions other ids",
            eval_name,
            len(repeated),
            len(listed),
            ", ".join(repeated[:3]),
            ", …" if len(repeated) > 3 else "",
        )
    return checked


__all__ = ["check_tasks"]
