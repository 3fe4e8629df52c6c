"""Nanoevals in evallib: a class that its registry can name, for `oaieval` and `oaievalset`.

    my_nanoeval.dev.v0:
      class: nanoeval.evallib:EvallibEval
      args: {eval: "my_pkg.my_eval:MyEval", args: {n: 50}}

Importing this module needs the `evals` package, which nothing of ours depends on, and anyio, which
comes with its openai.
"""

from __future__ import annotations

import asyncio
import dataclasses
import pkgutil
import random
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import chz
import evals
import evals.record
from anyio.from_thread import BlockingPortal, start_blocking_portal
from nanoeval_core.errors import ConfigError, RolloutSystemError
from nanoeval_core.eval import Eval, check_tasks
from nanoeval_core.json_values import json_value
from nanoeval_core.recorder import set_default_recorder
from nanoeval_core.recorder_adapter import unfolded_events
from nanoeval_core.recorder_protocol import BasicRunSpec
from nanoeval_core.recording import EventEncoder, load_events, pickle_event, recorded_form
from nanoeval_core.task import Task

__all__ = ["EvallibEval", "EvallibSample", "complete", "current_sample"]

MAX_RETRIES = 16
BACKOFF = 0.1  # seconds before the first retry; doubled at each further one, up to 5


@dataclasses.dataclass(frozen=True)
class EvallibSample:
    """What evallib gives the attempt that is running.

    Attributes:
        completion_fns: what `oaieval` was told to evaluate.
        sample_id: evallib's name for the sample.
        rng: seeded by `--seed` and the sample.
    """

    completion_fns: Sequence[Any]
    sample_id: str
    rng: random.Random


_sample: ContextVar[EvallibSample | None] = ContextVar("nanoeval_evallib_sample", default=None)


def current_sample() -> EvallibSample:
    """Return what evallib gives the attempt that is running: its completion functions and seed.

    Raises:
        ConfigError: the caller does not run under `oaieval`.
    """
    sample = _sample.get()
    if sample is None:
        raise ConfigError(
            "no evallib sample is current: this solver asks evallib's completion functions, so "
            "run its eval with oaieval (see nanoeval.evallib:EvallibEval)"
        )
    return sample


async def complete(prompt: str | Sequence[Mapping[str, Any]], **params: Any) -> list[str]:
    """Return what the first completion function replies to a text or chat, without blocking others.

    Args:
        prompt: a text, or the messages of a chat.
        params: passed on, as an eval of evallib would.
    """
    function = current_sample().completion_fns[0]
    asked = prompt if isinstance(prompt, str) else [dict(message) for message in prompt]
    result = await asyncio.to_thread(function, prompt=asked, **params)
    return list(result.get_completions())


class EvallibEval(evals.Eval):  # type: ignore[misc]  # evals is untyped
    """Runs a nanoeval as an eval of evallib: its recorder, seed, `--max_samples` and threads.

    Args:
        completion_fns: what `oaieval` was told to evaluate; solvers reach it by `complete`.
        eval: the nanoeval's class as `module:Class`.
        args: its chz arguments, by name; dotted names reach inner ones.
        kwargs: what evallib gives every eval; any other, as from `--extra_eval_params`, is a
            further argument of the nanoeval.
    """

    def __init__(
        self,
        completion_fns: list[Any],
        *,
        eval: str,
        args: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        own = {"eval_registry_path", "seed", "name", "registry", "samples_jsonl"}
        given = {name: kwargs.pop(name) for name in own & kwargs.keys()}
        super().__init__(completion_fns, **{"eval_registry_path": Path(), **given})
        self.nanoeval = build_eval(eval, {**(args or {}), **kwargs}, seed=self.seed)

    _portal: BlockingPortal  # to the event loop's thread, while `run` runs

    def eval_sample(self, sample: Task, rng: random.Random) -> tuple[Task, Any]:
        """Attempt one task, again after system errors; called on evallib's threads."""
        recorder: Any = evals.record.default_recorder()
        current = EvallibSample(self.completion_fns, recorder.current_sample_id(), rng)
        attempted: tuple[Task, Any] = self._portal.call(self._attempts, sample, recorder, current)
        return attempted

    async def _attempts(self, task: Task, recorder: Any, sample: EvallibSample) -> tuple[Task, Any]:
        _sample.set(sample)  # in this task alone: the portal makes one for each call
        encoder = EventEncoder(BasicRunSpec(*[recorder.run_spec.run_id] * 2), {}, pickle_event)
        for retry in range(MAX_RETRIES + 1):
            if retry:
                await asyncio.sleep(min(BACKOFF * 2 ** (retry - 1), 5.0) * sample.rng.random())
            task = task.model_copy(update={"retry_idx": retry})
            attempt = encoder.attempt(task.question_id, f"{task.attempt_id}.{retry}")
            result: Any
            try:
                with set_default_recorder(attempt):
                    result = await self.nanoeval.evaluate(task)
            except RolloutSystemError as error:
                attempt.record_error(str(error), error)
                result = error
            completed = not isinstance(result, RolloutSystemError)
            replay(attempt.take(completed=completed), recorder, task)
            if completed:
                break
        return task, result

    def run(self, recorder: Any) -> dict[str, Any]:
        """Attempt all tasks and return the nanoeval's full summary."""
        with (
            start_blocking_portal() as self._portal,
            self._portal.wrap_async_context_manager(self.nanoeval),
        ):
            listed = self._portal.call(self.nanoeval.get_tasks)
            tasks = check_tasks(listed, eval_name=self.nanoeval.get_name())
            outcomes = self.eval_all_samples(recorder, tasks)
            summary = self._portal.call(self.nanoeval.get_full_summary, outcomes)
        # As it will be read back: evallib's encoder knows less than ours.
        report: dict[str, Any] = json_value(summary)
        return report


def build_eval(path: str, arguments: Mapping[str, Any], *, seed: int | None) -> Eval[Any, Any]:
    """Return the nanoeval whose class `path` names, with `arguments`, and `seed` if it has one.

    Raises:
        ConfigError: there is no such class, or it does not take these arguments.
    """
    try:
        found: Any = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"EvallibEval: eval={path!r} cannot be loaded: {error}. Name an importable class as "
            "`module:Class`"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Eval)):
        raise ConfigError(f"EvallibEval: eval={path!r} is no subclass of nanoeval.Eval")
    values = {
        key: chz.Castable(value) if isinstance(value, str) else value
        for key, value in arguments.items()
    }
    if seed is not None and "seed" in chz.chz_fields(found):
        values.setdefault("seed", seed)
    blueprint: chz.Blueprint[Eval[Any, Any]] = chz.Blueprint(found)
    try:
        return blueprint.apply(values).make()
    except Exception as error:
        raise ConfigError(
            f"EvallibEval: {path} does not take args {dict(arguments)!r}: {error}"
        ) from error


def replay(events: bytes, recorder: Any, task: Task) -> None:
    """Tell evallib's recorder what an attempt recorded. The sample is the thread's current one."""
    for attempt in load_events([events]):
        for event in unfolded_events(attempt):
            event_type, data = event.type, recorded_form(event.type, event.data)
            if event_type == "sample_completed":
                event_type = "metrics"
            elif event_type == "sampling" and isinstance(data.get("usage"), Mapping):
                data["usage"], data["usage_details"] = _summable(data["usage"]), data["usage"]
            data = json_value(data)
            if isinstance(data, dict):
                data = {**data, "task": task.name}
            recorder.record_event(event_type, data)


def _summable(usage: Mapping[str, Any]) -> dict[str, float]:
    """Return `usage` as `oaieval` can add it up over samples: the same keys, numbers only."""
    keys = {"prompt_tokens", "completion_tokens", "total_tokens"}
    wanted = keys if keys & set(usage) else set(usage)
    counts = {key: usage.get(key) for key in wanted}
    return {key: n if isinstance(n, (int, float)) else 0 for key, n in sorted(counts.items())}
