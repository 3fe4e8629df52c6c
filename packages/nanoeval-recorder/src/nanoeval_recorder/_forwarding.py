"""An `AttemptRecorder` made of others: every call goes to each that takes it."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nanoeval_core.recorder import set_default_recorder
from nanoeval_core.recorder_base import CallMethods
from nanoeval_core.recorder_protocol import AttemptRecorder, RunSpec, View

METHOD_OF_TYPE = {
    "match": "record_match",
    "sampling": "record_sampling",
    "sample_completed": "record_sample_completed",
    "error": "record_error",
    "extra": "record_extra",
}


class ForwardingAttempt(CallMethods):
    """Passes what is recorded on to `targets`."""

    def __init__(self, targets: Sequence[AttemptRecorder]) -> None:
        self.targets = targets

    @abstractmethod
    def take(self, *, completed: bool) -> bytes: ...

    @abstractmethod
    def with_targets(self, targets: Sequence[AttemptRecorder]) -> ForwardingAttempt:
        """One like this that passes on to `targets`."""

    def takes(self, method: str) -> bool:
        """Whether calls of `method` are passed on."""
        return True

    @property
    def run_spec(self) -> RunSpec:
        return self.targets[0].run_spec

    def current_sample_id(self) -> str | None:
        return self.targets[0].current_sample_id()

    def current_group_id(self) -> str | None:
        return self.targets[0].current_group_id()

    @contextlib.contextmanager
    def as_default_recorder(
        self, sample_id: str, group_id: str, **extra: Any
    ) -> Iterator[ForwardingAttempt]:
        """Record under other ids inside the `with`; the events stay part of this attempt."""
        with contextlib.ExitStack() as stack:
            bound = self.with_targets(
                [
                    stack.enter_context(target.as_default_recorder(sample_id, group_id, **extra))
                    for target in self.targets
                ]
            )
            stack.enter_context(set_default_recorder(bound))
            yield bound

    def record_call(self, method: str, *arguments: Any, **keywords: Any) -> None:
        if self.takes(method):
            for target in self.targets:
                # A method of its own that one recorder has is no concern of another.
                call = getattr(target, method, None)
                if call is not None:
                    call(*arguments, **keywords)

    def record_final_report(self, final_report: Any) -> None:
        self.record_call("record_final_report", final_report)

    def evalboard_url(self, view: View) -> str | None:
        return next((url for target in self.targets if (url := target.evalboard_url(view))), None)

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("record_") and any(hasattr(target, name) for target in self.targets):
            return lambda *arguments, **keywords: self.record_call(name, *arguments, **keywords)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
