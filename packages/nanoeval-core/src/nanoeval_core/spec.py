"""`RunnerArgs` and `EvalSpec`: an eval, and how to run it."""

from __future__ import annotations

import logging
import os
from typing import Any

import chz

from nanoeval_core.by_name import ByName
from nanoeval_core.errors import ConfigError
from nanoeval_core.eval import Eval
from nanoeval_core.executors import (
    BUILT_IN,
    IN_PROCESS,
    MULTIPROCESS,
    ExecutorConfig,
    find_executor,
)
from nanoeval_core.recorder_protocol import RecorderConfig, check_run_set_id, find_recorder

log = logging.getLogger("nanoeval.spec")

ENV_ALLOW_ZERO_CONCURRENCY = "NANOEVAL_ALLOW_ZERO_CONCURRENCY"
"""Set, it lets `RunnerArgs.concurrency` be 0: the eval is queued and does not run (for tests)."""


@chz.chz
class RunnerArgs:
    """How to run an eval. Subclass it to change defaults."""

    concurrency: int | None = chz.field(
        default=4096,
        doc="This eval's tasks in flight, over all executors; None is unlimited.",
    )
    experimental_use_multiprocessing: bool = chz.field(
        default=False, doc="Run tasks in a pool of processes rather than in this one."
    )
    num_processes: int | None = chz.field(
        default=None,
        doc="Executor processes; by default one per usable core, or what the engine has room for.",
    )
    executor: str | ExecutorConfig | None = chz.field(
        default=None,
        meta_factory=ByName(
            lambda name: (lambda: name) if name in BUILT_IN else find_executor(name),
            annotation=ExecutorConfig | None,
        ),
        doc="Which executors run the tasks: in_process, multiprocess, or an installed engine such "
        "as ray. By default in_process, or multiprocess with experimental_use_multiprocessing.",
    )
    shuffle: bool = chz.field(default=False, doc="Queue the tasks in a random order.")
    seed: int = chz.field(default=0, doc="Seeds that order, and the jitter of retries.")
    n_tasks: int | None = chz.field(
        default=None, doc="Run only the first N tasks (taken before they are shuffled)."
    )
    run_set_id: str | None = chz.field(
        default=None,
        doc="Names the state file. The same id again resumes what is in it; by default a new one.",
    )
    recorder: RecorderConfig | None = chz.field(
        default=None,
        meta_factory=ByName(find_recorder),
        doc="Where events go: evallib (the default), json, dummy, or module:function.",
    )
    enable_slackbot: bool = chz.field(
        default=True,
        doc="Call LibraryConfig.send_user_notification; it does nothing unless configured.",
    )
    slack_name: str | None = chz.field(default=None, doc="Whom the notification is for.")
    model_name: str | None = chz.field(default=None, doc="The model, as records should name it.")
    eval_set_name: str | None = chz.field(
        default=None, doc="The set of evals this one belongs to, as records should name it."
    )
    summary_interval: float | None = chz.field(
        default=None, doc="Seconds between summaries of partial results; None for none."
    )
    use_monitor: bool = chz.field(default=False, doc="Start the web monitor with the run.")
    max_retries: int = chz.field(
        default=16, doc="How often a task is retried after a RolloutSystemError."
    )
    retry_backoff: float = chz.field(
        default=0.1,
        doc="Seconds before the first retry of a task, doubled at each further one up to 5 s, "
        "with full jitter.",
    )
    task_timeout: float | None = chz.field(
        default=None, doc="Seconds an attempt may take before it counts as a system error."
    )
    shutdown_grace: float = chz.field(
        default=10.0, doc="Seconds that tasks in flight may go on after the first Ctrl-C."
    )
    should_backup: bool = chz.field(
        default=True, doc="Copy the state file to durable storage, now and then and at the end."
    )
    backup_interval: float = chz.field(default=60.0, doc="Seconds between those copies.")
    budget_tokens: int | None = chz.field(
        default=None, doc="Stop, resumably, once this many tokens are spent."
    )
    budget_cost: float | None = chz.field(
        default=None, doc="Stop, resumably, once this much is spent, in the price table's unit."
    )
    gc_threshold: int | None = chz.field(
        default=None,
        doc="Allocations between Python's collections of young objects while tasks run; with "
        "thousands of tasks in flight 50000 saves time. None leaves the process's setting alone.",
    )
    accept_changed_spec: bool = chz.field(
        default=False, doc="Resume a run set although the eval's arguments changed since."
    )

    def _refuse(self, field: str, problem: str) -> None:
        raise ConfigError(f"RunnerArgs.{field}={getattr(self, field)!r}: {problem}")

    @chz.validate
    def _check_numbers(self) -> None:
        whole = ("concurrency", "n_tasks", "num_processes", "gc_threshold")
        # No processes means the default number; no concurrency queues and runs nothing.
        may_be_zero = ["num_processes"]
        if os.environ.get(ENV_ALLOW_ZERO_CONCURRENCY):
            may_be_zero.append("concurrency")
        for name in (*whole, "task_timeout", "budget_tokens", "budget_cost"):
            value = getattr(self, name)
            if value is None:
                continue
            if name in whole and (isinstance(value, bool) or not isinstance(value, int)):
                self._refuse(name, "give a whole number, or None")
            if not value > 0 and not (value == 0 and name in may_be_zero):
                self._refuse(name, "give a positive number, or None")
        if not self.backup_interval > 0:
            self._refuse("backup_interval", "give a positive number")
        for name in ("summary_interval", "max_retries", "retry_backoff", "shutdown_grace"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                self._refuse(name, "it cannot be negative")

    @chz.validate
    def _refuse_contradictions(self) -> None:
        if self.executor is not None and not isinstance(self.executor, (str, ExecutorConfig)):
            self._refuse("executor", "give the name of one, or its ExecutorConfig")
        if self.num_processes and self.executor_name == IN_PROCESS:
            self._refuse(
                "num_processes",
                "it needs a pool: set experimental_use_multiprocessing=True, or leave it out",
            )
        if self.experimental_use_multiprocessing and self.executor not in (None, MULTIPROCESS):
            self._refuse(
                "executor",
                "it contradicts experimental_use_multiprocessing=True: leave one of them out",
            )
        if self.slack_name is not None and not self.enable_slackbot:
            self._refuse(
                "slack_name",
                "it is for the slackbot, which enable_slackbot=False turns off: leave one out",
            )
        if self.run_set_id is not None:
            check_run_set_id(self.run_set_id)
        if self.recorder is not None and not callable(getattr(self.recorder, "factory", None)):
            self._refuse(
                "recorder",
                "give a RecorderConfig (an object with `async factory(spec, num_tasks)`), "
                "such as json_recorder()",
            )

    @property
    def executor_name(self) -> str:
        """Which executors run the tasks, by name."""
        if self.executor is None:
            return MULTIPROCESS if self.experimental_use_multiprocessing else IN_PROCESS
        return self.executor if isinstance(self.executor, str) else self.executor.name


@chz.chz
class EvalSpec:
    """An eval, and how to run it: what `nanoeval.run` takes."""

    eval: Eval[Any, Any] = chz.field(doc="What to measure.")
    runner: RunnerArgs = chz.field(default_factory=RunnerArgs, doc="How to run it.")

    @chz.validate
    def _check_types(self) -> None:
        if not isinstance(self.eval, Eval):
            raise ConfigError(
                f"EvalSpec.eval={self.eval!r}: give an instance of a subclass of nanoeval.Eval"
                + (", not the class itself" if isinstance(self.eval, type) else "")
            )
        if not isinstance(self.runner, RunnerArgs):
            raise ConfigError(
                f"EvalSpec.runner={self.runner!r}: give a RunnerArgs(…) or a subclass of it"
            )

    async def model_name(self) -> str:
        """Return the model, as `RunnerArgs.model_name` has it, else `nanoeval`, with a warning."""
        if self.runner.model_name is None:
            log.warning("runner.model_name is not set; the model is called 'nanoeval'")
            return "nanoeval"
        return self.runner.model_name


__all__ = ["ENV_ALLOW_ZERO_CONCURRENCY", "EvalSpec", "RunnerArgs"]
