"""`Eval`: what to measure."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import Any, Generic, Protocol, cast

import chz

from nanoeval_core import pickling
from nanoeval_core.asyncio_utils import HasAsyncContextManager
from nanoeval_core.errors import (
    ConfigError,
    RolloutSystemError,
    SystemErrorsNotSupported,
    TaskError,
)
from nanoeval_core.task import Task, TResult, TTask

log = logging.getLogger("nanoeval.tasks")


class ProgressBar(Protocol):
    """The part of tqdm's interface that `Eval.update_progress` may use."""

    def set_postfix(
        self, ordered_dict: dict[str, Any] | None = None, refresh: bool = True, **kwargs: Any
    ) -> None: ...


class RunningSummary(Protocol):
    """What `Eval.running_summary` returns: one of these serves one run, in the driver's process."""

    def add(self, task: Any, result: Any) -> None:
        """Take one task's final result, or the system error that stands for it."""

    def summary(self) -> dict[str, Any]:
        """Sum up what was added, in a time that does not grow with it. Also called on nothing."""
        ...


@chz.chz
class Eval(Generic[TTask, TResult], HasAsyncContextManager):
    """An evaluation: which tasks there are, how one is scored, how scores are summed up.

    Subclasses are chz classes: their annotated attributes are their configuration, in code and
    on the command line. They define `get_name`, `get_tasks`, `evaluate`, and `get_summary` or
    `get_full_summary`; what is missing is said when a run starts. Override `_context` (an async
    generator that yields once) for what each executor must open before its first task and close
    after its last; `nanoeval.asyncio_utils.ContextValue` holds what it yields.
    """

    def get_name(self) -> str:
        """Return the eval's name, as records show it."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_name")

    async def get_tasks(self) -> Sequence[TTask]:
        """Return all tasks, each `(question_id, attempt_id)` once."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_tasks")

    async def evaluate(self, task: TTask) -> TResult:
        """Run one attempt and return its result, which must be picklable.

        Raises:
            RolloutSystemError: the system failed, not the model; the task is retried.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define evaluate")

    async def get_summary(self, results: list[tuple[TTask, TResult]]) -> dict[str, Any]:
        """Sum up `results`. Also called on partial results, in any order, and on none."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_summary")

    async def get_full_summary(
        self, results: list[tuple[TTask, TResult | RolloutSystemError]]
    ) -> dict[str, Any]:
        """Sum up results that may hold system errors.

        By default what `nanoeval.metrics.standard.handle_system_errors_and_compute_metrics`
        makes of `get_summary` and `process_invalid`: system errors are left out of the top-level
        metrics, which are joined by `num_tasks`, `is_valid` (False when any attempt was lost)
        and, when there is no error or `process_invalid` replaces each, `metrics_including_errors`.
        """
        from nanoeval_core.metrics import outcomes  # noqa: PLC0415  for runs with results only

        return await outcomes.handle_system_errors_and_compute_metrics(
            self.get_summary, results, self.process_invalid
        )

    def process_invalid(self, task: TTask) -> TResult:
        """Return the result to count for `task` when all its attempts ended in system errors."""
        raise NotImplementedError(
            f"{type(self).__name__} does not override process_invalid: system errors have no "
            "result to count as"
        )

    async def update_progress(
        self, partial_results: list[tuple[TTask, TResult]], pbar: ProgressBar
    ) -> None:
        """Show something about the results so far: `pbar.set_postfix(accuracy=…)`.

        Called now and then with the results so far, system errors left out (none at first), and
        once with all of them before the final summary.
        """

    def running_summary(self) -> RunningSummary | None:
        """Return a summary that is kept up to date result by result, or None to do without.

        Override it when a run may have so many results that summing all of them up every
        `summary_interval` would be slow. The runner then adds each result once, system errors
        included, and asks for `summary()` instead of calling `get_full_summary` on partial
        results. The summary at the end is `get_full_summary` of everything either way.
        `nanoeval.metrics.running_summary` has one for accuracies.
        """
        return None

    async def self_test(self) -> None:
        """Check the eval without a model: what would stop a run, found in milliseconds.

        Looks at its methods, its name, its tasks (ids, duplicates, pickling), whether the eval
        itself can reach another process, and whether progress and the full summary work: of no
        results, with the first half of the tasks lost to system errors, and with all of them
        lost. A summary that refuses those (`SystemErrorsNotSupported`) passes.

        Raises:
            NanoevalError: the first thing that is wrong.
        """
        check_complete(self)
        await self.update_progress([], cast("ProgressBar", _SilentBar()))
        name = self.get_name()
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{type(self).__name__}.get_name() must return a text, got {name!r}")
        tasks = check_tasks(await self.get_tasks(), eval_name=name)
        for task in tasks:
            if not task.unsafe_skip_serialization_validation:
                pickling.dumps(task, what=f"task {task.name!r} of eval {name!r}", renew_locks=True)
        pickling.dumps(self, what=f"eval {name!r}", renew_locks=True)
        summary: object = await self.get_full_summary([])
        if not isinstance(summary, dict):
            raise ConfigError(
                f"{type(self).__name__}.get_full_summary([]) must return a dict, got {summary!r}: "
                "summaries are also asked of no results"
            )
        error = RolloutSystemError("a system error of self_test")
        with contextlib.suppress(SystemErrorsNotSupported):
            await self.get_full_summary([(task, error) for task in tasks[: len(tasks) // 2]])
            await self.get_full_summary([(task, error) for task in tasks])


def overrides(eval: Eval[Any, Any], method: str) -> bool:
    """Return whether the class of `eval` overrides `method` of `Eval`."""
    return getattr(type(eval), method) is not getattr(Eval, method)


def check_complete(eval: Eval[Any, Any]) -> None:
    """Check that `eval` defines what a run calls.

    Raises:
        ConfigError: a method is missing; the message names all that are.
    """
    missing = [name for name in ("get_name", "get_tasks", "evaluate") if not overrides(eval, name)]
    if not overrides(eval, "get_summary") and not overrides(eval, "get_full_summary"):
        missing.append("get_summary")
    if missing:
        raise ConfigError(
            f"{type(eval).__name__} does not define {', '.join(missing)}: "
            "an eval needs get_name, get_tasks, evaluate, and get_summary or get_full_summary"
        )


def check_tasks(tasks: Sequence[TTask], *, eval_name: str) -> list[TTask]:
    """Return `tasks` as a list, each known to be a `Task` with an id of its own.

    Of those that share an id the first counts; a warning names some.

    Raises:
        TaskError: the list is empty, or an item is not a `Task`.
    """
    given = f"eval {eval_name!r}: get_tasks()"
    if isinstance(tasks, (str, bytes)) or not hasattr(tasks, "__iter__"):
        raise TaskError(f"{given} must return a sequence of Task, got {type(tasks).__name__}")
    listed = list(tasks)
    if not listed:
        raise TaskError(
            f"{given} returned no tasks, so there is nothing to run: check its data and filters"
        )
    seen: dict[tuple[str, int], int] = {}
    repeated: list[str] = []
    for index, task in enumerate(listed):
        if not isinstance(task, Task):
            raise TaskError(
                f"{given}[{index}] is a {type(task).__name__}: "
                "every task must be an instance of nanoeval.Task"
            )
        question_id = task.question_id
        if "/" in question_id:  # model_construct and assignment bypass the model's check
            raise TaskError(
                f"{given}[{index}].question_id {question_id!r} contains '/': "
                "use another character, such as '-'"
            )
        first = seen.setdefault((question_id, task.attempt_id), index)
        if first != index:
            repeated.append(
                f"[{index}] has the id of [{first}] (question_id={question_id!r}, "
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
    return list(map(listed.__getitem__, seen.values()))


def assert_no_system_errors(
    results: Sequence[tuple[TTask, TResult | RolloutSystemError]],
) -> list[tuple[TTask, TResult]]:
    """Return `results` as a list, known to hold no system error.

    Raises:
        SystemErrorsNotSupported: it holds one; the message lists the tasks.
    """
    failed = [pair for pair in results if isinstance(pair[1], RolloutSystemError)]
    if failed:
        shown = ", ".join(f"{task.name} ({error})" for task, error in failed[:_ERRORS_SHOWN])
        raise SystemErrorsNotSupported(
            f"{len(failed)} of {len(results)} results are system errors: {shown}"
            + (", …" if len(failed) > _ERRORS_SHOWN else "")
            + ". Leave them out first, or override Eval.process_invalid to give them a result"
        )
    return cast("list[tuple[TTask, TResult]]", list(results))


class _SilentBar:
    """A progress bar that shows nothing, whatever method of tqdm's is called."""

    n = 0
    total: int | None = None

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


_ERRORS_SHOWN = 10

__all__ = [
    "Eval",
    "ProgressBar",
    "RunningSummary",
    "assert_no_system_errors",
    "check_complete",
    "check_tasks",
    "overrides",
]
