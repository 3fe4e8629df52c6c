"""The driver's half of the recorders that write files: one file per run, one writer, no locks.

Executors hand over encoded events with their results; this is the only place that writes them.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from nanoeval_core.errors import RecorderError
from nanoeval_core.recorder_direct import DirectRecording
from nanoeval_core.recorder_protocol import RunSpec, View

from nanoeval_recorder._attempt import EventFormat
from nanoeval_recorder._record_file import Position, RecordFile


class SavedPosition(msgspec.Struct):
    """What `position()` says: the file (it may be opened by another process, elsewhere), where
    in it, and the number of the next event."""

    path: str
    part: int
    offset: int
    event_id: int


class FileRecorder(DirectRecording):
    """A `TransactionalRecorder` that writes JSON Lines. Use it inside `with recorder:`.

    Args:
        run_spec: the ids of the run.
        path: the file; ends in `.jsonl` or `.jsonl.zst`.
        rotate_bytes: start another file once one has this many bytes; None never does.
    """

    writes_at_once = True

    def __init__(self, run_spec: RunSpec, path: Path, *, rotate_bytes: int | None = None) -> None:
        self._run_spec = run_spec
        self._file = RecordFile(path.absolute(), header=self.header, rotate_bytes=rotate_bytes)
        self._lock = threading.RLock()  # events come on a thread, the final report on another
        self._event_id = 0
        self._needs_rewind = False
        self._final_line: bytes | None = None
        self._before_final: tuple[Position, int] | None = None

    @property
    @abstractmethod
    def format(self) -> EventFormat:
        """How events look; what executors get."""

    @abstractmethod
    def header(self, part: int) -> bytes:
        """The first line of part number `part`, with its newline."""

    @abstractmethod
    def number_lines(
        self, events: Sequence[bytes], first_id: int
    ) -> tuple[Sequence[bytes | memoryview], int]:
        """The lines to write for what executors encoded, and the number of the event after."""

    @abstractmethod
    def final_line(self, final_report: Any) -> bytes:
        """The last line of a finished run, with its newline."""

    @property
    def path(self) -> Path:
        """The file that is written, or the first of them."""
        return self._file.path

    @property
    def run_spec(self) -> RunSpec:
        return self._run_spec

    def __enter__(self) -> Self:
        if not self._file.is_open:
            self._needs_rewind = not self._file.open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._file.close()

    def encoder(self) -> EventFormat:
        return self.format

    def write_events(self, events: Sequence[bytes]) -> None:
        """Append what attempts took, all of it or nothing.

        Raises:
            RecorderError: it could not be written; `position()` is what it was.
        """
        with self._lock:
            lines, next_id = self.number_lines(events, self._event_id)
            if not lines:
                return
            self._check_position_known()
            final = self._take_back_final()
            self._file.append(lines)
            self._event_id = next_id
            if final is not None:
                self._append_final(final)

    def position(self) -> str:
        with self._lock:
            if not self._file.is_open or self._needs_rewind:
                return ""
            part, offset = self._file.position()
            saved = SavedPosition(str(self._file.path), part, offset, self._event_id)
            return msgspec.json.encode(saved).decode()

    def rewind(self, position: str) -> None:
        """Cut the file back to `position`; to the empty one, start it afresh.

        Raises:
            RecorderError: it is no position of this recorder, or the file is not as it was then.
        """
        with self._lock:
            saved = self._parse(position) if position else None
            if saved is not None:
                self._follow(Path(saved.path))
            target = Position(saved.part, saved.offset) if saved else Position(0, 0)
            self._needs_rewind = True  # and still does, when this fails
            self._file.rewind(target)
            self._event_id = saved.event_id if saved else 0
            self._needs_rewind = False
            self._final_line = self._before_final = None

    def _follow(self, path: Path) -> None:
        """Go on in `path`, where the run was recorded before, when it is not where we would."""
        if path == self._file.path or not path.exists():
            return
        if not self._needs_rewind:  # then ours was made a moment ago, by __enter__
            self._file.path.unlink(missing_ok=True)
        self._file.path = path

    def _parse(self, position: str) -> SavedPosition:
        try:
            return msgspec.json.decode(position, type=SavedPosition)
        except msgspec.MsgspecError as error:
            raise RecorderError(
                f"{position!r} is no position of a {type(self).__name__}: resume a run with the "
                "recorder that it was started with"
            ) from error

    def _check_position_known(self) -> None:
        if self._needs_rewind:
            raise RecorderError(
                f"the record {self._file.path} exists already: call rewind() with the position "
                "to go on from ('' to start it afresh), or give the run another run_id"
            )

    def record_final_report(self, final_report: Any) -> None:
        """Write the last line. Called again, it replaces the former one."""
        with self._lock:
            self._check_position_known()
            self._take_back_final()
            self._append_final(self.final_line(final_report))

    def _append_final(self, line: bytes) -> None:
        before = self._file.position(), self._event_id
        self._file.append([line])
        self._final_line, self._before_final = line, before

    def _take_back_final(self) -> bytes | None:
        line = self._final_line
        if self._before_final is not None:
            self._file.rewind(self._before_final[0])
            self._event_id = self._before_final[1]
        self._final_line = self._before_final = None
        return line

    def evalboard_url(self, view: View) -> str | None:
        return self.urls.get(view)

    @property
    def urls(self) -> Mapping[str, str]:
        return {"run": self._file.path.as_uri()}
