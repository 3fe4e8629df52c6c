"""What recorders have in common: the methods of the protocol, brought down to one.

`BaseRecorder` is for those who write a recorder of their own. `EventMethods` and `CallMethods` are
the halves of it that nanoeval's own recorders share.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

from nanoeval_core.recorder import current_run_spec, set_default_recorder
from nanoeval_core.recorder_protocol import BasicRunSpec, RunSpec, View

# Whose events these are, in the context that records them.
_ids: ContextVar[tuple[str, str] | tuple[None, None]] = ContextVar("ids", default=(None, None))


class _Entered:
    """A context manager that opens and closes nothing."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return None


class EventMethods(_Entered, ABC):
    """Each `record_…` call as an event: a type and its data."""

    __slots__ = ()

    @abstractmethod
    def record_event(self, event_type: str, data: Any) -> None:
        """Take one event.

        Args:
            event_type: `match`, `sampling`, `sample_completed`, `error`, `extra`, `final_report`.
            data: what was recorded: a dict by field name, except for `extra` and `final_report`,
                which are whatever the eval gave.
        """

    def record_match(
        self,
        correct: bool,
        *,
        expected: Any = None,
        picked: Any = None,
        prob_correct: float | None = None,
        **extra: Any,
    ) -> None:
        correct = correct if correct is True or correct is False else as_bool(correct)
        data = {"correct": correct, "expected": expected, "picked": picked}
        if prob_correct is not None:
            data["prob_correct"] = prob_correct
        if extra:
            data.update(extra)
        self.record_event("match", data)

    def record_sampling(
        self,
        prompt: Any,
        sampled: Any,
        *,
        extra_allowed_metadata_fields: list[str] | None = None,
        **extra: Any,
    ) -> None:
        """Record what a model was asked and what it replied, one text or a list of them.

        Nothing is filtered: `extra_allowed_metadata_fields` is accepted and has no effect.
        """
        replies = sampled if type(sampled) is list else as_list(sampled)
        data = {"prompt": prompt, "sampled": replies}
        if extra:
            data.update(extra)
        self.record_event("sampling", data)

    def record_sample_completed(self, **extra: Any) -> None:
        self.record_event("sample_completed", extra)

    def record_error(self, msg: str, error: Exception | None, **kwargs: Any) -> None:
        self.record_event("error", error_data(msg, error, kwargs))

    def record_extra(self, data: Any) -> None:
        self.record_event("extra", data)

    def record_final_report(self, final_report: Any) -> None:
        self.record_event("final_report", final_report)


class BaseRecorder(EventMethods):
    """A recorder of your own: implement `record_event`, and `evalboard_url` if it has a page.

    The runner calls it in the driving process only, on one thread, with the events of completed
    attempts. `current_sample_id()` and `current_group_id()` say whose event it is.

    Args:
        run_spec: the run's ids; by default those of the run whose recorder is being built.
    """

    def __init__(self, run_spec: RunSpec | None = None) -> None:
        ids = run_spec or current_run_spec()
        self._run_spec = ids or BasicRunSpec(run_id="none", run_set_id="none")

    @property
    def run_spec(self) -> RunSpec:
        return self._run_spec

    def current_sample_id(self) -> str | None:
        return _ids.get()[0]

    def current_group_id(self) -> str | None:
        return _ids.get()[1]

    @contextlib.contextmanager
    def as_default_recorder(self, sample_id: str, group_id: str, **extra: Any) -> Iterator[Self]:
        token = _ids.set((sample_id, group_id))
        try:
            with set_default_recorder(self):
                yield self
        finally:
            _ids.reset(token)

    def evalboard_url(self, view: View) -> str | None:
        return None


class CallMethods(_Entered, ABC):
    """Each `record_…` call as a name and arguments, for what hands calls on unread."""

    __slots__ = ()

    @abstractmethod
    def record_call(self, method: str, *arguments: Any, **keywords: Any) -> None: ...

    def record_match(self, correct: bool, **extra: Any) -> None:
        self.record_call("record_match", correct, **extra)

    def record_sampling(self, prompt: Any, sampled: Any, **extra: Any) -> None:
        self.record_call("record_sampling", prompt, sampled, **extra)

    def record_sample_completed(self, **extra: Any) -> None:
        self.record_call("record_sample_completed", **extra)

    def record_error(self, msg: str, error: Exception | None, **kwargs: Any) -> None:
        self.record_call("record_error", msg, error, **kwargs)

    def record_extra(self, data: Any) -> None:
        self.record_call("record_extra", data)


def error_data(msg: str, error: BaseException | None, more: Mapping[str, Any]) -> dict[str, Any]:
    """The `data` of an `error` event: `type` and `message` of the error, and what was said."""
    return {
        "type": type(error).__name__ if error is not None else None,
        "message": str_of(error) if error is not None else msg,
        "msg": msg,
        **more,
    }


def str_of(error: BaseException) -> str:
    """What an error says. Never raises `Exception`."""
    try:
        return str(error)
    except Exception as failure:  # noqa: BLE001  said instead of the message
        return f"<{type(error).__name__} whose str() raises {type(failure).__name__}>"


def as_bool(value: Any) -> Any:
    """`value` as a bool (numpy's too), or itself when it has no truth value."""
    try:
        return bool(value) if value == value else value  # NaN is not true
    except Exception:  # noqa: BLE001  an array, say: recorded as it is rather than guessed
        return value


def as_list(value: Any) -> list[Any]:
    """`value` as the list of replies that a sampling has. Never raises `Exception`."""
    if value is None:
        return []
    try:
        if isinstance(value, list):
            return value
        return list(value) if isinstance(value, tuple) else [value]
    except Exception:  # noqa: BLE001  not even asking is safe: recorded as one value
        return [value]
