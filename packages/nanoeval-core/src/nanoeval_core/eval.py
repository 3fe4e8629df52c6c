"""`Eval`: what to measure, in four methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, Protocol

import chz

from nanoeval_core.asyncio_utils import HasAsyncContextManager
from nanoeval_core.errors import RolloutSystemError, SystemErrorsNotSupported
from nanoeval_core.task import TResult, TTask


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
class Eval(HasAsyncContextManager, ABC, Generic[TTask, TResult]):
    """An evaluation: which tasks there are, how one is scored, how scores are summed up.

    Subclasses are chz classes: their annotated attributes are their configuration, in code and
    on the command line. Override `_context` (an async generator that yields once) for what each
    executor must open before the first task and close after the last.
    """

    @abstractmethod
    def get_name(self) -> str:
        """The eval's name, as records show it."""

    @abstractmethod
    async def get_tasks(self) -> Sequence[TTask]:
        """All tasks, each `(question_id, attempt_id)` once."""

    @abstractmethod
    async def evaluate(self, task: TTask) -> TResult:
        """Run one attempt and return its result, which must be picklable.

        Raises:
            RolloutSystemError: the system failed, not the model; the task is retried.
        """

    @abstractmethod
    async def get_summary(self, results: list[tuple[TTask, TResult]]) -> dict[str, Any]:
        """Sum up `results`. Also called on partial results, in any order, and on none."""

    async def get_full_summary(
        self, results: list[tuple[TTask, TResult | RolloutSystemError]]
    ) -> dict[str, Any]:
        """Sum up results that may hold system errors.

        By default they are left out of the top-level metrics, which are joined by `num_tasks`,
        `is_valid` (False when any task ended in a system error) and, when `process_invalid` is
        overridden, `metrics_including_errors`.
        """
        # Deferred: only runs with results need it, and it is the metrics package's door.
        from nanoeval_core.metrics.agents import (  # noqa: PLC0415
            get_summary_error_aware,
        )

        return await get_summary_error_aware(self, results)

    def process_invalid(self, task: TTask) -> TResult:
        """The result to count for `task` when every attempt at it ended in a system error."""
        raise NotImplementedError(
            f"{type(self).__name__} does not override process_invalid: system errors have no "
            "result to count as"
        )

    async def update_progress(
        self,
        partial_results: list[tuple[TTask, TResult | RolloutSystemError]],
        pbar: ProgressBar,
    ) -> None:
        """Show something about the results so far: `pbar.set_postfix(accuracy=…)`."""

    def running_summary(self) -> RunningSummary | None:
        """A summary that is kept up to date result by result, or None to do without.

        Override it when a run may have so many results that summing all of them up every
        `summary_interval` would be slow. The runner then adds each result once, system errors
        included, and asks for `summary()` instead of calling `get_full_summary` on partial
        results. The summary at the end is `get_full_summary` of everything either way.
        `nanoeval_core.metrics.running_summary` has one for accuracies.
        """
        return None

    async def self_test(self) -> None:
        """Check the eval without a model: names, ids, pickling, summaries of nothing.

        Raises:
            NanoevalError: what is wrong and how to mend it.
        """
        from nanoeval_core.self_test import check_eval  # noqa: PLC0415  not needed to run

        await check_eval(self)


def overrides(eval: Eval[Any, Any], method: str) -> bool:
    """Whether the class of `eval` overrides `method` of `Eval`."""
    return getattr(type(eval), method) is not getattr(Eval, method)


def assert_no_system_errors(
    results: list[tuple[TTask, TResult | RolloutSystemError]],
) -> list[tuple[TTask, TResult]]:
    """`results`, known to hold no system error.

    Raises:
        SystemErrorsNotSupported: it holds one; the message names the first.
    """
    clean: list[tuple[TTask, TResult]] = []
    for task, result in results:
        if isinstance(result, RolloutSystemError):
            failed = sum(isinstance(r, RolloutSystemError) for _, r in results)
            raise SystemErrorsNotSupported(
                f"{failed} of {len(results)} results are system errors, the first of task "
                f"{task.name!r}: {result}. Leave them out first, or override "
                "Eval.process_invalid to give them a result"
            ) from result
        clean.append((task, result))
    return clean
