"""What `get_recorder()` returns inside `Eval.evaluate`: collects one attempt's events as bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from nanoeval_core.recorder import set_default_recorder
from nanoeval_core.recorder_base import EventMethods
from nanoeval_core.recorder_protocol import RunSpec, View

from nanoeval_recorder._values import encode, encode_fast

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


class BufferedAttempt(EventMethods):
    """An `AttemptRecorder` that encodes each event at the call that records it.

    Formats subclass it: their `record_event` gives `keep` what a line of theirs holds.
    """

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
        self._lines: list[bytes] = []
        self._results: list[int] = []  # which of the lines are results

    @property
    def run_spec(self) -> RunSpec:
        return self._format.run_spec

    def current_sample_id(self) -> str | None:
        return self.sample_id

    def current_group_id(self) -> str | None:
        return self.group_id

    @contextlib.contextmanager
    def as_default_recorder(
        self, sample_id: str, group_id: str, **extra: Any
    ) -> Iterator[BufferedAttempt]:
        """Record under other ids inside the `with`; the events stay part of this attempt."""
        both = {**(self.extra or {}), **extra}
        bound = type(self)(self._format, sample_id, group_id, both)
        bound._lines, bound._results = self._lines, self._results
        with set_default_recorder(bound):
            yield bound

    def keep(self, event_type: str, line: Any) -> None:
        """Encode `line`, which an event of `event_type` became."""
        if event_type in RESULT_TYPES:
            self._results.append(len(self._lines))
        try:
            self._lines.append(encode_fast(line))
        except Exception:  # noqa: BLE001  whatever is wrong with it, the slow path has an answer
            self._lines.append(encode(line))

    def record_final_report(self, final_report: Any) -> None:
        """Record it as an extra event: the final report of a run is the runner's to write."""
        self.record_extra({"final_report": final_report})

    def evalboard_url(self, view: View) -> str | None:
        return self._format.urls.get(view)

    def take(self, *, completed: bool) -> bytes:
        lines = self._lines
        if not lines:
            return b""
        if not completed:
            results = set(self._results)
            lines = [line for place, line in enumerate(lines) if place not in results]
        taken = b"".join([line + b"\n" for line in lines]) if lines else b""
        self._lines.clear()  # in place: what is bound to other ids shares them
        self._results.clear()
        return taken
