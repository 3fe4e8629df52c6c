"""A recorder for tests: what was recorded is a list."""

from __future__ import annotations

import secrets
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import chz
from nanoeval_core.recorder_protocol import BasicRunSpec, RecorderConfig, RunSpec, current_run_spec
from nanoeval_core.recording import TransactionalRecorder, recorder

from nanoeval_recorder._file_recorder import encode
from nanoeval_recorder.evallib import evallib_line
from nanoeval_recorder.reading.events import Event
from nanoeval_recorder.reading.reader import parse_event, unfolded

if TYPE_CHECKING:
    from nanoeval_core.spec import EvalSpec

__all__ = ["EventLog", "InMemoryRecorder", "InMemoryRecorderConfig", "in_memory_recorder"]


class EventLog:
    """The events of the runs of one `in_memory_recorder()`; the same object wherever the config
    is copied to in this process."""

    # The owner of all logs alive in this process, so that a copy of a config finds its own.
    _alive: ClassVar[weakref.WeakValueDictionary[str, EventLog]] = weakref.WeakValueDictionary()

    def __init__(self, key: str) -> None:
        self.key = key
        self.runs: dict[str, list[Event]] = {}
        self.final_reports: dict[str, Any] = {}

    @classmethod
    def called(cls, key: str) -> EventLog:
        log = cls._alive.get(key)
        if log is None:
            log = cls._alive[key] = cls(key)
        return log

    def __reduce__(self) -> tuple[Any, ...]:
        return EventLog.called, (self.key,)


class InMemoryRecorder(TransactionalRecorder):
    """Keeps one run's events as `read` would give them. Nothing of it survives the process."""

    encode = staticmethod(evallib_line)
    writes_at_once = True
    records_completion = False

    def __init__(self, run_spec: RunSpec, log: EventLog) -> None:
        self.run_spec = run_spec
        self._log = log
        self._lock = threading.Lock()
        self._events = log.runs.setdefault(run_spec.run_id, [])

    @property
    def events(self) -> list[Event]:
        return self._events

    @property
    def final_report(self) -> Any:
        return self._log.final_reports.get(self.run_spec.run_id)

    def write_events(self, events: Sequence[bytes]) -> None:
        with self._lock:
            lines = (parse_event(line) for line in b"".join(events).splitlines())
            for event in unfolded(lines):
                event.run_id, event.event_id = self.run_spec.run_id, len(self._events)
                self._events.append(event)

    def position(self) -> str:
        return str(len(self._events))

    def rewind(self, position: str) -> None:
        with self._lock:
            del self._events[int(position or 0) :]

    def record_final_report(self, final_report: Any) -> None:
        line = b'{"final_report":' + encode(final_report) + b"}"
        self._log.final_reports[self.run_spec.run_id] = parse_event(line).data


@chz.chz
class InMemoryRecorderConfig(RecorderConfig):
    """Builds `InMemoryRecorder`s, and gives what they recorded.

    As a context manager it makes a recorder current, for calls of `evaluate` without a runner.
    """

    log: EventLog = chz.field(
        default_factory=lambda: EventLog.called(secrets.token_hex(8)),
        doc="Where the events are.",
    )

    async def factory(self, spec: EvalSpec, num_tasks: int) -> InMemoryRecorder:
        return InMemoryRecorder(
            current_run_spec() or BasicRunSpec("in-memory", "in-memory"), self.log
        )

    @property
    def events(self) -> list[Event]:
        """The events of all runs, in the order of their runs."""
        return [event for events in self.log.runs.values() for event in events]

    @property
    def final_reports(self) -> Mapping[str, Any]:
        """Final reports by run_id."""
        return self.log.final_reports

    def __enter__(self) -> InMemoryRecorder:
        made = InMemoryRecorder(BasicRunSpec("in-memory", "in-memory"), self.log)
        self.__dict__.setdefault("_tokens", []).append(recorder.set(made))
        return made

    def __exit__(self, *exc: object) -> None:
        recorder.reset(self.__dict__["_tokens"].pop())


def in_memory_recorder() -> InMemoryRecorderConfig:
    """Keep events in memory: `recorder = in_memory_recorder()`, run, then `recorder.events`."""
    return InMemoryRecorderConfig()
