"""What `get_recorder()` returns inside `Eval.evaluate`: collects one attempt's events as bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from nanoeval_core.recorder import set_default_recorder
from nanoeval_core.recorder_protocol import RunSpec, View

# What says how an attempt went; never written of an attempt that did not count.
RESULT_TYPES = frozenset({"match", "sample_completed"})


class EventFormat(Protocol):
    """How events look in a file. Picklable: it goes to every executor."""

    @property
    def run_spec(self) -> RunSpec: ...

    @property
    def urls(self) -> Mapping[str, str]:
        """`evalboard_url` by view."""
        ...

    def attempt(self, sample_id: str | None, group_id: str | None) -> BufferedAttempt: ...

    def encode_event(self, event_type: str, data: Any, attempt: BufferedAttempt) -> bytes:
        """One event, as a line without its newline."""
        ...


class BufferedAttempt:
    """An `AttemptRecorder` that encodes each event at the call that records it."""

    __slots__ = ("_format", "_lines", "_results", "extra", "group_id", "sample_id")

    def __init__(
        self,
        event_format: EventFormat,
        sample_id: str | None,
        group_id: str | None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self._format = event_format
        self.sample_id = sample_id
        self.group_id = group_id
        self.extra = extra
        self._lines: list[bytes] | None = None
        self._results: list[int] | None = None  # which lines are results

    @property
    def run_spec(self) -> RunSpec:
        return self._format.run_spec

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def current_sample_id(self) -> str | None:
        return self.sample_id

    def current_group_id(self) -> str | None:
        return self.group_id

    @contextlib.contextmanager
    def as_default_recorder(
        self, sample_id: str, group_id: str, **extra: Any
    ) -> Iterator[BufferedAttempt]:
        """Record under other ids inside the `with`; the events stay part of this attempt."""
        if self._lines is None:
            self._lines, self._results = [], []
        bound = BufferedAttempt(self._format, sample_id, group_id, {**(self.extra or {}), **extra})
        bound._lines, bound._results = self._lines, self._results
        with set_default_recorder(bound):
            yield bound

    def record(self, event_type: str, data: Any) -> None:
        line = self._format.encode_event(event_type, data, self)
        if self._lines is None:
            self._lines, self._results = [], []
        if event_type in RESULT_TYPES and self._results is not None:
            self._results.append(len(self._lines))
        self._lines.append(line)

    def record_match(
        self,
        correct: bool,
        *,
        expected: Any = None,
        picked: Any = None,
        prob_correct: float | None = None,
        **extra: Any,
    ) -> None:
        data = {"correct": as_bool(correct), "expected": expected, "picked": picked}
        if prob_correct is not None:
            data["prob_correct"] = prob_correct
        if extra:
            data.update(extra)
        self.record("match", data)

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
        data = {"prompt": prompt, "sampled": as_list(sampled)}
        if extra:
            data.update(extra)
        self.record("sampling", data)

    def record_sample_completed(self, **extra: Any) -> None:
        self.record("sample_completed", extra)

    def record_error(self, msg: str, error: Exception | None, **kwargs: Any) -> None:
        self.record("error", error_data(msg, error, kwargs))

    def record_extra(self, data: Any) -> None:
        self.record("extra", data)

    def record_final_report(self, final_report: Any) -> None:
        """Record it as an extra event: the final report of a run is the runner's to write."""
        self.record("extra", {"final_report": final_report})

    def evalboard_url(self, view: View) -> str | None:
        return self._format.urls.get(view)

    def take(self, *, completed: bool) -> bytes:
        lines, results = self._lines, self._results
        if not lines:
            return b""
        self._lines = self._results = None
        if results and not completed:
            dropped = set(results)
            lines = [line for index, line in enumerate(lines) if index not in dropped]
            if not lines:
                return b""
        return b"\n".join(lines) + b"\n"


def as_bool(value: Any) -> Any:
    """`value` as a bool (numpy's too), or itself when it has no truth value."""
    if value is True or value is False:
        return value
    try:
        return bool(value)
    except Exception:  # noqa: BLE001  an array, say: recorded as it is rather than guessed
        return value


def as_list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if value is None:
        return []
    return list(value) if isinstance(value, tuple) else [value]


def error_data(msg: str, error: BaseException | None, more: Mapping[str, Any]) -> dict[str, Any]:
    """The `data` of an `error` event: `type` and `message` of the error, and what was said."""
    return {
        "type": type(error).__name__ if error is not None else None,
        "message": str_of(error) if error is not None else msg,
        "msg": msg,
        **more,
    }


def str_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failure:  # noqa: BLE001  recorded instead of the message
        return f"<{type(error).__name__} whose str() raises {type(failure).__name__}>"
