"""The default recorder: the event log of the public `evals` package, readable by its tools.

A file holds a `spec` line, one line per event and, of a finished run, a `final_report` line.
docs/records.md describes the fields.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import chz
import msgspec
from nanoeval_core.recorder import current_run_spec, new_run_spec
from nanoeval_core.recorder_protocol import BasicRunSpec, RecorderConfig, RunSpec

from nanoeval_recorder._attempt import BufferedAttempt
from nanoeval_recorder._file_recorder import FileRecorder
from nanoeval_recorder._record_file import record_path
from nanoeval_recorder._run_description import describe_run
from nanoeval_recorder._values import encode
from nanoeval_recorder.folder import records_folder

if TYPE_CHECKING:
    from nanoeval_core.spec import EvalSpec

# What readers of the format go by; a field that a user binds beside them never takes their names.
_RESERVED = frozenset(
    {"run_id", "event_id", "sample_id", "type", "data", "created_by", "created_at"}
    | {"group_id", "spec", "final_report"}
)


_UTC = datetime.UTC
_now = datetime.datetime.now


class _Event(msgspec.Struct, gc=False):
    sample_id: str | None
    type: str
    data: Any
    created_by: str
    created_at: datetime.datetime
    group_id: str | None


class EvallibFormat:
    """Encodes an event but for the beginning with its ids, which the driver puts in front."""

    def __init__(self, run_spec: RunSpec, created_by: str, urls: Mapping[str, str]) -> None:
        self.run_spec = run_spec
        self.urls = urls
        self.created_by = created_by

    def attempt(self, sample_id: str | None, group_id: str | None) -> EvallibAttempt:
        return EvallibAttempt(self, sample_id, group_id)


class EvallibAttempt(BufferedAttempt):
    """Collects an attempt's events as the format has them."""

    __slots__ = ()
    _format: EvallibFormat

    def record_event(self, event_type: str, data: Any) -> None:
        if event_type == "sample_completed":
            data = {"completed": True, **data}
        name = "metrics" if event_type == "sample_completed" else event_type
        by = self._format.created_by
        event: Any = _Event(self.sample_id, name, data, by, _now(_UTC), self.group_id)
        if self.extra:
            event = {**msgspec.structs.asdict(event), **_beside(self.extra)}
        self.keep(event_type, event)


def _beside(extra: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}_" if name in _RESERVED else name: value for name, value in extra.items()}


class EvallibRecorder(FileRecorder):
    """Writes one run in the evallib format. Made by `evallib_recorder().factory`.

    Args:
        run_spec: the ids of the run.
        path: the file, ending in `.jsonl` or `.jsonl.zst`.
        spec: the `spec` line's content.
        rotate_bytes: start another file once one has this many bytes; None never does.
    """

    def __init__(
        self,
        run_spec: RunSpec,
        path: Path,
        *,
        spec: Mapping[str, Any],
        rotate_bytes: int | None = None,
    ) -> None:
        super().__init__(run_spec, path, rotate_bytes=rotate_bytes)
        self._spec = dict(spec)
        self._format = EvallibFormat(run_spec, str(self._spec.get("created_by", "")), self.urls)
        self._prefix = b'{"run_id":' + encode(run_spec.run_id) + b',"event_id":'

    @property
    def format(self) -> EvallibFormat:
        return self._format

    def header(self, part: int) -> bytes:
        line = {"spec": self._spec}
        return encode({**line, "part": part} if part else line) + b"\n"

    def number_lines(
        self, events: Sequence[bytes], first_id: int
    ) -> tuple[Sequence[bytes | memoryview], int]:
        # This and the write are all that the driver does for an event: lines are not even copied.
        prefix, number = self._prefix, first_id
        pieces: list[bytes | memoryview] = []
        for chunk in events:
            view = memoryview(chunk)
            start, end = 0, chunk.find(b"\n") + 1
            while end:
                pieces += (b"%b%d," % (prefix, number), view[start + 1 : end])
                number += 1
                start, end = end, chunk.find(b"\n", end) + 1
        return pieces, number

    def final_line(self, final_report: Any) -> bytes:
        line = {"final_report": final_report, "run_id": self.run_spec.run_id}
        return encode(line) + b"\n"


@chz.chz
class FileRecorderConfig(RecorderConfig):
    """Where and how a record is written; the formats are its subclasses."""

    log_dir: str | None = chz.field(
        default=None,
        doc="The folder of records; by default NANOEVAL_LOG_DIR, else a folder of the user's.",
    )
    compression: Literal["zst"] | None = chz.field(
        default=None, doc="Compress: zst needs Python 3.14 or nanoeval-recorder[zstd]."
    )
    rotate_bytes: int | None = chz.field(
        default=None, doc="Start another file once one has this many (compressed) bytes."
    )

    @chz.validate
    def _check(self) -> None:
        if self.rotate_bytes is not None and not self.rotate_bytes > 0:
            raise ValueError(f"rotate_bytes={self.rotate_bytes!r}: give a positive number, or None")

    def path_of(self, run_spec: BasicRunSpec, eval_name: str) -> Path:
        """The file of a run: the same whenever it is asked, so that a resumed run finds it."""
        folder = records_folder(self.log_dir)
        name = run_spec.eval_name or eval_name
        return record_path(folder, run_spec.run_id, name, compressed=self.compression is not None)


def run_spec_for(spec: EvalSpec) -> BasicRunSpec:
    """The ids of the run that is being set up, or new ones outside of the runner."""
    return current_run_spec() or new_run_spec(
        run_set_id=spec.runner.run_set_id or "none",
        eval_name=spec.eval.get_name(),
        model_name=spec.runner.model_name,
    )


@chz.chz
class EvallibRecorderConfig(FileRecorderConfig):
    """Builds `EvallibRecorder`s."""

    async def factory(self, spec: EvalSpec, num_tasks: int) -> EvallibRecorder:
        run_spec = run_spec_for(spec)
        return EvallibRecorder(
            run_spec,
            self.path_of(run_spec, spec.eval.get_name()),
            spec=await describe_run(spec, run_spec, num_tasks),
            rotate_bytes=self.rotate_bytes,
        )


def evallib_recorder(
    *,
    log_dir: str | None = None,
    compression: Literal["zst"] | None = None,
    rotate_bytes: int | None = None,
) -> EvallibRecorderConfig:
    """Record runs as the public `evals` package does: one `.jsonl` file per run in `log_dir`."""
    return EvallibRecorderConfig(
        log_dir=log_dir, compression=compression, rotate_bytes=rotate_bytes
    )
