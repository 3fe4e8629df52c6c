"""Checks an eval without a model: what would stop a run, found in milliseconds."""

from __future__ import annotations

from typing import Any

from nanoeval_core.errors import ConfigError
from nanoeval_core.eval import Eval
from nanoeval_core.pickling import check_picklable
from nanoeval_core.task_checks import check_tasks


async def check_eval(eval: Eval[Any, Any]) -> None:
    """Raise a `NanoevalError` for the first thing that would stop a run of `eval`.

    Looks at its name, its tasks (ids, duplicates, pickling), whether the eval itself can reach
    another process, and whether summaries of no results work.
    """
    name = eval.get_name()
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{type(eval).__name__}.get_name() must return a text, got {name!r}")
    tasks = check_tasks(await eval.get_tasks(), eval_name=name)
    for task in tasks:
        check_picklable(task, what=f"task {task.name!r} of eval {name!r}")
    check_picklable(eval, what=f"eval {name!r}")
    for method in ("get_summary", "get_full_summary"):
        summary = await getattr(eval, method)([])
        if not isinstance(summary, dict):
            raise ConfigError(
                f"{type(eval).__name__}.{method}([]) must return a dict, got {summary!r}: "
                "summaries are also asked of no results"
            )
