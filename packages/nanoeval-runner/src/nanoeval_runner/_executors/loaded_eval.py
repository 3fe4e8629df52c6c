"""An eval in an executor that got it pickled."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any, Self

from nanoeval_core.eval import Eval
from nanoeval_core.recording import EventEncoder
from nanoeval_core.spec import EvalSpec, RunnerArgs
from nanoeval_core.task import Task

from nanoeval_runner._payloads import load_task
from nanoeval_runner._queue.rows import Lease


@dataclasses.dataclass(frozen=True)
class LoadedEval:
    """The `EvalHandle` of executors outside of the driver."""

    spec: EvalSpec
    encoder: EventEncoder

    @classmethod
    def from_pickles(cls, spec: bytes, encoder: bytes) -> Self:
        return cls(pickle.loads(spec), pickle.loads(encoder))

    @property
    def eval(self) -> Eval[Any, Any]:
        return self.spec.eval

    @property
    def runner(self) -> RunnerArgs:
        return self.spec.runner

    def task(self, lease: Lease) -> Task:
        assert lease.payload is not None  # noqa: S101  asked for with each claim
        return load_task(lease.payload, lease.retry_idx)
