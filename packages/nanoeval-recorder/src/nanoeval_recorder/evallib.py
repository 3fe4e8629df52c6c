"""The default recorder: the event log of the public `evals` package, readable by its tools.

A file holds a `spec` line, one line per event and, of a finished run, a `final_report` line.
docs/records.md describes the fields.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import chz
from nanoeval_core.recorder_protocol import RecorderConfig, RunSpec
from nanoeval_core.recording import EVENT_TYPES, AttemptEvent, recorded_form

from nanoeval_recorder._description import describe_run
from nanoeval_recorder._encoding import encode
from nanoeval_recorder._file_recorder import FileRecorder
from nanoeval_recorder._files import record_path
from nanoeval_recorder.folder import records_folder

if TYPE_CHECKING:
    from nanoeval_core.spec import EvalSpec

__all__ = ["EvallibRecorder", "EvallibRecorderConfig", "evallib_line", "evallib_recorder"]

# What readers of the format go by; a field that a user binds beside them never takes their names.
_RESERVED = frozenset(
    {"run_id", "event_id", "sample_id", "type", "data", "created_by", "created_at"}
    | {"group_id", "spec", "final_report"}
)


def evallib_line(created_by: str, event: AttemptEvent) -> bytes:
    """Return the line of an event, without the ids of run and event that the driver puts first."""
    kind, data, sample_id, group_id, time, extra = event
    data = recorded_form(kind, data)
    if kind in EVENT_TYPES and kind != "extra" and type(data) is dict:
        # An eval may record for another sample or group than the one that is current.
        if "sample_id" in data:
            sample_id = data.pop("sample_id")
        if "group_id" in data:
            group_id = data.pop("group_id")
        if kind == "sample_completed":
            kind, data = "metrics", {"completed": True, **data}
    line: dict[str, Any] = {}
    if kind == "file":
        line = {"type": kind, "sha256": data.pop("sha256")}
    line |= {"sample_id": sample_id, "type": kind, "data": data, "created_by": created_by}
    line |= {"created_at": time, "group_id": group_id}
    if extra:
        line |= {f"{n}_" if n in _RESERVED else n: value for n, value in extra.items()}
    return encode(line) + b"\n"


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
        self.run_spec = run_spec
        self._spec = dict(spec)
        self._prefix = b'{"run_id":' + encode(run_spec.run_id) + b',"event_id":'
        self._set_up(path, rotate_bytes)

    @property
    def encode(self) -> Callable[[AttemptEvent], bytes]:
        return functools.partial(evallib_line, str(self._spec.get("created_by", "")))

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
class EvallibRecorderConfig(RecorderConfig):
    """Builds `EvallibRecorder`s."""

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
        check_rotate_bytes(self.rotate_bytes)

    async def factory(self, spec: EvalSpec, num_tasks: int) -> EvallibRecorder:
        run_spec = self._make_default_run_spec(spec)
        # The same file whenever it is asked for, so that a resumed run finds it.
        path = record_path(
            records_folder(self.log_dir),
            run_spec.run_id,
            run_spec.eval_name or spec.eval.get_name(),
            compressed=self.compression is not None,
        )
        description = await describe_run(spec, run_spec, num_tasks)
        return EvallibRecorder(run_spec, path, spec=description, rotate_bytes=self.rotate_bytes)


def check_rotate_bytes(value: int | None) -> None:
    if value is not None and not value > 0:
        raise ValueError(f"rotate_bytes={value!r}: give a positive number, or None")


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
