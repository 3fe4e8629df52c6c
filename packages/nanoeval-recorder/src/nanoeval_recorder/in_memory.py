"""A recorder for tests: what was recorded is a list."""

from __future__ import annotations

import secrets
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import chz
from nanoeval_core.recorder import current_run_spec, set_default_recorder
from nanoeval_core.recorder_direct import DirectRecording
from nanoeval_core.recorder_protocol import BasicRunSpec, RecorderConfig, RunSpec, View

from nanoeval_recorder._values import encode
from nanoeval_recorder.evallib import EvallibFormat
from nanoeval_recorder.events import Event
from nanoeval_recorder.reader import parse_event

if TYPE_CHECKING:
    from nanoeval_core.spec import EvalSpec


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


class InMemoryRecorder(DirectRecording):
    """Keeps one run's events as `read` would give them. Nothing of it survives the process."""

    writes_at_once = True

    def __init__(self, run_spec: RunSpec, log: EventLog) -> None:
        self._run_spec = run_spec
        self._log = log
        self._lock = threading.Lock()
        self._format = EvallibFormat(run_spec, "", {})
        self._events = log.runs.setdefault(run_spec.run_id, [])

    @property
    def run_spec(self) -> RunSpec:
        return self._run_spec

    @property
    def events(self) -> list[Event]:
        return self._events

    @property
    def final_report(self) -> Any:
        return self._log.final_reports.get(self._run_spec.run_id)

    def encoder(self) -> EvallibFormat:
        return self._format

    def write_events(self, events: Sequence[bytes]) -> None:
        with self._lock:
            for line in b"".join(events).splitlines():
                event = parse_event(line)
                event.run_id, event.event_id = self._run_spec.run_id, len(self._events)
                self._events.append(event)

    def position(self) -> str:
        return str(len(self._events))

    def rewind(self, position: str) -> None:
        with self._lock:
            del self._events[int(position or 0) :]

    def record_final_report(self, final_report: Any) -> None:
        line = b'{"final_report":' + encode(final_report) + b"}"
        self._log.final_reports[self._run_spec.run_id] = parse_event(line).data

    def evalboard_url(self, view: View) -> str | None:
        return None


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
        ids = current_run_spec() or BasicRunSpec(run_id="in-memory", run_set_id="in-memory")
        return InMemoryRecorder(ids, self.log)

    @property
    def events(self) -> list[Event]:
        """The events of all runs, in the order of their runs."""
        return [event for events in self.log.runs.values() for event in events]

    @property
    def final_reports(self) -> Mapping[str, Any]:
        """Final reports by run_id."""
        return self.log.final_reports

    def __enter__(self) -> InMemoryRecorder:
        ids = BasicRunSpec(run_id="in-memory", run_set_id="in-memory")
        recorder = InMemoryRecorder(ids, self.log)
        self.__dict__.setdefault("_current", []).append(set_default_recorder(recorder))
        return recorder

    def __exit__(self, *exc: object) -> None:
        self.__dict__["_current"].pop().__exit__(*exc)


def in_memory_recorder() -> InMemoryRecorderConfig:
    """Keep events in memory: `recorder = in_memory_recorder()`, run, then `recorder.events`."""
    return InMemoryRecorderConfig()
