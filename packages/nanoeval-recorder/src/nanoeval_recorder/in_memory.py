"""A recorder for tests: what was recorded is a list."""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import chz
from nanoeval_core.recorder_protocol import BasicRunSpec, RecorderConfig, RunSpec, current_run_spec
from nanoeval_core.recording import TransactionalRecorder, recorder

from nanoeval_recorder._file_recorder import encode
from nanoeval_recorder.evallib import evallib_line
from nanoeval_recorder.reading.events import Event
from nanoeval_recorder.reading.reader import parse_event, unfolded

if TYPE_CHECKING:
    from nanoeval_core.spec import EvalSpec

__all__ = ["InMemoryRecorder", "InMemoryRecorderConfig", "in_memory_recorder"]


class InMemoryRecorder(TransactionalRecorder):
    """Keeps one run's events as `read` would give them. Nothing of it survives the process.

    Attributes:
        final_report: the run's, None before there is one.
    """

    encode = staticmethod(evallib_line)
    writes_at_once = True
    records_completion = False

    def __init__(self, run_spec: RunSpec) -> None:
        self.run_spec = run_spec
        self.events: list[Event] = []
        self.final_report: Any = None

    def write_events(self, events: Sequence[bytes]) -> None:
        head = b'{"run_id":' + encode(self.run_spec.run_id) + b","
        lines = b"".join(events).splitlines()
        for event in unfolded(parse_event(head + line[1:]) for line in lines):
            event.event_id = len(self.events)
            self.events.append(event)

    def position(self) -> str:
        return str(len(self.events))

    def rewind(self, position: str) -> None:
        del self.events[int(position or 0) :]

    def record_final_report(self, final_report: Any) -> None:
        line = b'{"final_report":' + encode(final_report) + b"}"
        self.final_report = parse_event(line).data


@chz.chz
class InMemoryRecorderConfig(RecorderConfig):
    """Builds `InMemoryRecorder`s, and gives what they recorded. Its copies are itself.

    As a context manager it makes a recorder current, for calls of `evaluate` without a runner.
    """

    key: str = chz.field(
        default_factory=lambda: secrets.token_hex(8), doc="What copies of it are known by."
    )

    @property
    def recorders(self) -> dict[str, InMemoryRecorder]:
        """The recorders of its runs, by run_id."""
        found: dict[str, InMemoryRecorder] = self.__dict__.setdefault("_recorders", {})
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        _copied[self.key] = self
        return _copy_of, (self.key,)

    async def factory(self, spec: EvalSpec, num_tasks: int) -> InMemoryRecorder:
        run_spec = current_run_spec() or BasicRunSpec("in-memory", "in-memory")
        return self.recorders.setdefault(run_spec.run_id, InMemoryRecorder(run_spec))

    @property
    def events(self) -> list[Event]:
        """The events of all runs, in the order of their runs."""
        return [event for recorder in self.recorders.values() for event in recorder.events]

    @property
    def final_reports(self) -> Mapping[str, Any]:
        """Final reports by run_id."""
        reports = {name: recorder.final_report for name, recorder in self.recorders.items()}
        return {name: report for name, report in reports.items() if report is not None}

    def __enter__(self) -> InMemoryRecorder:
        run_spec = BasicRunSpec("in-memory", "in-memory")
        made = self.recorders.setdefault(run_spec.run_id, InMemoryRecorder(run_spec))
        self.__dict__.setdefault("_tokens", []).append(recorder.set(made))
        return made

    def __exit__(self, *exc: object) -> None:
        recorder.reset(self.__dict__["_tokens"].pop())


_copied: weakref.WeakValueDictionary[str, InMemoryRecorderConfig] = weakref.WeakValueDictionary()
"""The configs of this process that were pickled: what is read again is the same object."""


def _copy_of(key: str) -> InMemoryRecorderConfig:
    return _copied.get(key) or InMemoryRecorderConfig(key=key)


in_memory_recorder = InMemoryRecorderConfig
"""Its name in code: `recorder = in_memory_recorder()`, run, then `recorder.events`."""
