"""Solvers of computer tasks, and the eval that runs one over its tasks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from typing import Any, final

import chz
from nanoeval_core import Eval, RolloutSystemError
from nanoeval_core.asyncio_utils import HasAsyncContextManager, generator_with_cleanup
from nanoeval_core.eval import ProgressBar
from nanoeval_core.metrics.agents import get_summary_error_aware
from nanoeval_core.recorder import get_recorder
from nanoeval_core.recorder_protocol import RecorderProtocol
from pydantic import BaseModel

from nanoeval_computer.steps import FinalResult as FinalResult
from nanoeval_computer.steps import FinalResultWithException
from nanoeval_computer.steps import Step as Step
from nanoeval_computer.task import ComputerTask as ComputerTask
from nanoeval_computer.task import Grade as Grade

__all__ = [
    "ComputerTask",
    "DummyPythonCodingSolver",
    "FinalResult",
    "Grade",
    "PythonCodingEval",
    "PythonCodingSolver",
    "Step",
    "record_message",
    "simple_timer",
    "strip_all_metadata",
]

log = logging.getLogger("nanoeval.computer")

STEP_MESSAGES = 5
"""Messages of a conversation that are recorded with a step: the newest."""

PRETTY_MESSAGES = 15
"""Messages that `record_pretty` looks through, of each step."""


@chz.chz
class PythonCodingSolver(ABC, HasAsyncContextManager):
    """Works on computer tasks: starts the machine, acts, grades, and says how it went."""

    @abstractmethod
    def shortname(self) -> str:
        """Return the name that goes into the names of evals and folders."""

    @abstractmethod
    def run(self, task: ComputerTask) -> AsyncGenerator[Step | FinalResult, None]:
        """Work on `task`: an async generator of steps and, in the end, one `FinalResult`."""

    def get_additional_metrics(self) -> dict[str, Any]:
        """Return what the summary should hold under `solver`."""
        return {}

    async def check_tasks(self, tasks: Sequence[ComputerTask]) -> None:
        """Refuse, before anything runs, tasks that this solver's machines cannot serve.

        Raises:
            ConfigError: what is wrong, with which task, and what to do.
        """


@chz.chz
class DummyPythonCodingSolver(PythonCodingSolver):
    """Starts nothing and scores 1."""

    def shortname(self) -> str:
        return "dummy"

    async def run(self, task: ComputerTask) -> AsyncGenerator[Step | FinalResult, None]:
        yield FinalResult(grade=Grade(score=1.0, grader_log="solved by the dummy solver"))


@chz.chz
class PythonCodingEval(Eval[ComputerTask, FinalResult]):
    """An eval of computer tasks. Override `get_name` and `get_instances`."""

    solver: PythonCodingSolver = chz.field(
        default=DummyPythonCodingSolver(), doc="What works on the tasks."
    )
    n_tries: int = chz.field(default=1, doc="Attempts at each instance.")
    record_pretty: bool = chz.field(
        default=False, doc="Record new messages as samplings instead of whole steps."
    )
    log_at_end: bool = chz.field(
        default=False, doc="Record the grader's log, and a match, once more at the end."
    )

    async def get_instances(self) -> Sequence[ComputerTask]:
        """Return the tasks, one for each instance."""
        raise NotImplementedError(
            f"{type(self).__name__} overrides neither get_instances nor get_tasks"
        )

    async def get_tasks(self) -> Sequence[ComputerTask]:
        """Return each instance `n_tries` times, the first attempt at all of them first."""
        instances = await self.get_instances()
        await self.solver.check_tasks(instances)
        return [
            instance.model_copy(update={"attempt_id": attempt})
            for attempt in range(self.n_tries)
            for instance in instances
        ]

    @contextlib.asynccontextmanager
    async def _context(self) -> AsyncIterator[None]:
        async with self.solver:
            yield

    async def evaluate(self, task: ComputerTask) -> FinalResult:
        """Let the solver work on `task` and return its first `FinalResult`.

        Raises:
            RolloutSystemError: also where something inside was canceled, though this was not.
        """
        try:
            return await self._evaluate_inner(task)
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise  # the runner ends this attempt, and knows why
            raise RolloutSystemError(f"the rollout was canceled from inside: {error}") from error

    async def _evaluate_inner(self, task: ComputerTask) -> FinalResult:
        recorder = get_recorder()
        recorded: set[Any] = set()
        async with generator_with_cleanup(self.solver.run(task)) as steps:
            async for step in steps:
                if isinstance(step, FinalResultWithException):
                    raise RolloutSystemError(str(step.exception))
                # On a thread, for a recorder may write files; the solver waits for it.
                await asyncio.to_thread(self._record_step, recorder, step, recorded)
                if isinstance(step, FinalResult):
                    await asyncio.to_thread(recorder.record_match, correct=step.correct)
                    break
            else:
                raise ValueError(
                    f"solver {self.solver.shortname()!r} ended task {task.name!r} without a "
                    "FinalResult: yield one"
                )
        if self.log_at_end:
            group_id = str(task.attempt_id)
            await asyncio.to_thread(
                recorder.record_sampling,
                prompt="",
                sampled=step.grade.grader_log,
                sample_id=task.question_id,
                group_id=group_id,
            )
            await asyncio.to_thread(
                recorder.record_match, correct=bool(step.grade.score), group_id=group_id
            )
        return step

    def _record_step(
        self, recorder: RecorderProtocol, step: Step | FinalResult, recorded: set[Any]
    ) -> None:
        try:
            convo = step.convo
            if _is_conversation(convo):
                if self.record_pretty:
                    for message in convo.messages[-PRETTY_MESSAGES:]:
                        if message.id not in recorded:
                            recorded.add(message.id)
                            record_message(recorder, message)
                    return
                step.convo = strip_all_metadata(convo)
                if isinstance(step, Step):
                    step.convo.messages = step.convo.messages[-STEP_MESSAGES:]
            elif isinstance(step, Step) and isinstance(convo, list):
                step.convo = convo[-STEP_MESSAGES:]
            recorder.record_extra(data=step.model_dump(mode="json"))
        except Exception:
            log.exception("a step could not be recorded; the rollout goes on")

    def process_invalid(self, task: ComputerTask) -> FinalResult:
        return FinalResult(grade=Grade(score=0.0, grader_log="every attempt was a system error"))

    async def update_progress(
        self, partial_results: list[tuple[ComputerTask, Any]], pbar: ProgressBar
    ) -> None:
        ended = [r for _, r in partial_results if not isinstance(r, RolloutSystemError)]
        correct = sum(result.correct for result in ended)
        pbar.set_postfix(corr=correct, errs=0, fail=len(ended) - correct)

    @final
    async def get_summary(self, results: list[tuple[ComputerTask, FinalResult]]) -> dict[str, Any]:
        raise AssertionError("computer tasks are summed up by get_full_summary alone")

    async def get_full_summary(
        self, results: list[tuple[ComputerTask, FinalResult | RolloutSystemError]]
    ) -> dict[str, Any]:
        correctness = [
            (task, result if isinstance(result, RolloutSystemError) else result.correct)
            for task, result in results
        ]
        return {
            **get_summary_error_aware(correctness),
            "length_stats": self._get_convo_len_stats(results),
            "solver": self.solver.get_additional_metrics(),
        }

    def _get_convo_len_stats(
        self, results: Sequence[tuple[ComputerTask, FinalResult | RolloutSystemError]]
    ) -> dict[str, Any]:
        """Return which fractions were correct or reached a limit, and quartiles of the lengths."""
        ended = [result for _, result in results if not isinstance(result, RolloutSystemError)]
        if not ended:
            return {}
        wrong = [result for result in ended if not result.correct]
        reached = [(r.max_time_reached, r.max_steps_reached, r.max_tokens_reached) for r in wrong]
        counts = {
            "frac_correct": len(ended) - len(wrong),
            "frac_max_time": sum(by_time for by_time, _, _ in reached),
            "frac_max_steps": sum(by_steps for _, by_steps, _ in reached),
            "frac_max_tokens": sum(by_tokens for _, _, by_tokens in reached),
            "frac_model_ended": sum(not any(limits) for limits in reached),
        }
        stats: dict[str, Any] = {name: count / len(ended) for name, count in counts.items()}
        lengths = sorted(
            len(convo.messages if _is_conversation(convo) else convo)
            for convo in (result.convo for result in ended)
            if _is_conversation(convo) or isinstance(convo, list)
        )
        if lengths:
            several = lengths if len(lengths) > 1 else lengths * 2
            stats["convo_len_percentiles"] = statistics.quantiles(several, method="inclusive")
        return stats

    async def self_test(self) -> None:
        await super().self_test()
        for task in await self.get_tasks():
            if not task.unsafe_skip_serialization_validation:
                json.dumps(task.model_dump())


def _is_conversation(convo: Any) -> bool:
    """Return whether `convo` is a model with messages, as those that solvers of labs keep."""
    return isinstance(convo, BaseModel) and isinstance(getattr(convo, "messages", None), list)


def strip_all_metadata(convo: Any, allowed_metadata_fields: list[str] | None = None) -> Any:
    """Return a copy of a conversation without metadata, except the allowed fields.

    The copy is shallow: its messages are those of `convo`, and lose theirs in place.
    """
    allowed = allowed_metadata_fields or []

    def kept(metadata: Any) -> Any:
        fields = metadata if isinstance(metadata, dict) else {}
        return {name: fields[name] for name in allowed if name in fields}

    stripped = convo.model_copy(update={"metadata": kept(getattr(convo, "metadata", None))})
    for message in stripped.messages:
        if hasattr(message, "metadata"):
            message.metadata = kept(message.metadata)
    return stripped


def record_message(recorder: RecorderProtocol, message: Any) -> None:
    """Record one message of a conversation as a sampling."""
    recorder.record_sampling(
        prompt="",
        sampled=str(message.content) if hasattr(message, "content") else str(message),
        role=str(message.author.role),
        status=str(message.status),
        end_turn=message.end_turn,
        recipient=str(message.recipient),
    )


@contextlib.contextmanager
def simple_timer(name: str) -> Iterator[None]:
    """Log that the body starts, and how long it took; a failure is logged and goes on."""
    started = time.monotonic()
    log.info("%s: started", name)
    try:
        yield
    except BaseException as error:
        log.warning("%s: failed, elapsed=%.3f: %r", name, time.monotonic() - started, error)
        raise
    log.info("%s: ended, elapsed=%.3f", name, time.monotonic() - started)
