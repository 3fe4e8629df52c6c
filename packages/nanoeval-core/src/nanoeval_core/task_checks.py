"""What every list of tasks must satisfy before it is queued."""

from __future__ import annotations

from collections.abc import Sequence

from nanoeval_core.errors import TaskError
from nanoeval_core.task import Task, TTask


def check_tasks(tasks: Sequence[TTask], *, eval_name: str) -> list[TTask]:
    """`tasks` as a list, each known to be a `Task` with an id of its own.

    Raises:
        TaskError: there are none, one is not a `Task`, or two share an id.
    """
    if isinstance(tasks, (str, bytes)) or not hasattr(tasks, "__iter__"):
        raise TaskError(
            f"eval {eval_name!r}: get_tasks() must return a sequence of Task, "
            f"got {type(tasks).__name__}"
        )
    checked = list(tasks)
    if not checked:
        raise TaskError(
            f"eval {eval_name!r}: get_tasks() returned no tasks, so there is nothing to run: "
            "check its data and filters"
        )
    seen: dict[tuple[str, int], int] = {}
    for index, task in enumerate(checked):
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
        if first != index:
            raise TaskError(
                f"eval {eval_name!r}: get_tasks()[{index}] has the id of get_tasks()[{first}]: "
                f"question_id={task.question_id!r}, attempt_id={task.attempt_id}. Give repeated "
                "attempts at a question different attempt_ids, and other questions other ids"
            )
    return checked


__all__ = ["check_tasks"]
