"""Checks an eval without a model: what would stop a run, found in milliseconds."""

from __future__ import annotations

from typing import Any

from nanoeval_core.errors import ConfigError, RolloutSystemError, SystemErrorsNotSupported
from nanoeval_core.eval import Eval, check_complete
from nanoeval_core.pickling import check_picklable
from nanoeval_core.task_checks import check_tasks


async def check_eval(eval: Eval[Any, Any]) -> None:
    """Check what would stop a run of `eval`.

    Looks at its methods, its name, its tasks (ids, duplicates, pickling), whether the eval itself
    can reach another process, and whether progress and the full summary work: of no results, with
    the first half of the tasks lost to system errors, and with all of them lost. A summary that
    refuses those (`SystemErrorsNotSupported`) passes.

    Raises:
        NanoevalError: the first thing that is wrong.
    """
    check_complete(eval)
    await eval.update_progress([], _Bar())
    name = eval.get_name()
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{type(eval).__name__}.get_name() must return a text, got {name!r}")
    tasks = check_tasks(await eval.get_tasks(), eval_name=name)
    for task in tasks:
        if not task.unsafe_skip_serialization_validation:
            check_picklable(task, what=f"task {task.name!r} of eval {name!r}", renew_locks=True)
    check_picklable(eval, what=f"eval {name!r}", renew_locks=True)
    summary = await eval.get_full_summary([])
    if not isinstance(summary, dict):
        raise ConfigError(
            f"{type(eval).__name__}.get_full_summary([]) must return a dict, got {summary!r}: "
            "summaries are also asked of no results"
        )
    error = RolloutSystemError("a system error of self_test")
    try:
        for lost in (tasks[: len(tasks) // 2], tasks):
            await eval.get_full_summary([(task, error) for task in lost])
    except SystemErrorsNotSupported:
        pass


class _Bar:
    """A progress bar with tqdm's usual methods that shows nothing."""

    n = 0
    total: int | None = None

    def _nothing(self, *args: Any, **kwargs: Any) -> None:
        return None

    set_postfix = set_postfix_str = set_description = set_description_str = _nothing
    update = refresh = clear = close = write = display = _nothing


__all__ = ["check_eval"]
