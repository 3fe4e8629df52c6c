"""The default recorder: the event log of the public `evals` package, readable by its tools.

A file holds a `spec` line, one line per event and, of a finished run, a `final_report` line.
docs/records.md describes the fields.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import chz
from nanoeval_core.recorder_protocol import RecorderConfig, RunSpec
from nanoeval_core.recording import recorded_form

from nanoeval_recorder._description import describe_run
from nanoeval_recorder._file_recorder import FileRecorder, check_rotate_bytes, encode
from nanoeval_recorder.folder import record_path, records_folder

if TYPE_CHECKING:
    from nanoeval_core.spec import EvalSpec

__all__ = ["EvallibRecorder", "EvallibRecorderConfig", "evallib_line", "evallib_recorder"]

# What readers of the format go by; a field that a user adds to them never takes their names.
_RESERVED = frozenset(
    {"run_id", "event_id", "sample_id", "type", "data", "created_by", "created_at"}
    | {"group_id", "spec", "final_report"}
)

_WITH_IDS = frozenset({"match", "sampling", "sample_completed", "error"})


def evallib_line(
    kind: str,
    data: Any,
    sample_id: str | None,
    group_id: str | None,
    time: datetime.datetime,
    extra: Mapping[str, Any] | None,
) -> bytes:
    """Return the line of an event without what the driver puts first, such as its number."""
    if kind != "match" or type(data) is not dict or type(data.get("correct")) is not bool:
        data = recorded_form(kind, data)  # which most matches have already
    if kind in _WITH_IDS and type(data) is dict:
        # An eval may record for another sample or group than the one that is current.
        sample_id = data.pop("sample_id", sample_id)
        group_id = data.pop("group_id", group_id)
        if kind == "sample_completed":
            kind, data = "metrics", {"completed": True, **data}
    line = {
        "sample_id": sample_id,
        "type": kind,
        "data": data,
        "created_at": time,
        "group_id": group_id,
    }
    if kind == "file":
        line = {"type": kind, "sha256": data.pop("sha256"), **line}
    if extra:
        line |= {f"{n}_" if n in _RESERVED else n: value for n, value in extra.items()}
    return encode(line) + b"\n"


class EvallibRecorder(FileRecorder):
    """Writes one run in the evallib format. Made by `evallib_recorder().factory`.

    Args:
        path: the file, ending in `.jsonl` or `.jsonl.zst`.
        spec: the `spec` line's content.
        rotate_bytes: start another file once one has this many bytes; None never does.
    """

    encode = staticmethod(evallib_line)
    records_completion = False

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
        self.around_number = (
            b'{"run_id":' + encode(run_spec.run_id) + b',"event_id":',
            b',"created_by":' + encode(self._spec.get("created_by", "")) + b",",
        )
        self._set_up(path, rotate_bytes)

    def header(self, part: int) -> bytes:
        line = {"spec": self._spec}
        return encode({**line, "part": part} if part else line) + b"\n"

    def final_line(self, final_report: Any) -> bytes:
        line = {"final_report": final_report, "run_id": self.run_spec.run_id}
        return encode(line) + b"\n"


@chz.chz
class EvallibRecorderConfig(RecorderConfig):
    """Records runs as the public `evals` package does: one `.jsonl` file per run in `log_dir`."""

    log_dir: str | None = chz.field(
        default=None,
        doc="The folder of records; by default NANOEVAL_LOG_DIR, else a folder of the user's.",
    )
    compression: Literal["zst"] | None = chz.field(
        default=None, doc="Compress: zst needs Python 3.14 or nanoeval-recorder[zstd]."
    )
    rotate_bytes: int | None = chz.field(
        default=None,
        validator=check_rotate_bytes,
        doc="Start another file once one has this many (compressed) bytes.",
    )

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


evallib_recorder = EvallibRecorderConfig
"""Its name in code: `RunnerArgs(recorder=evallib_recorder(log_dir="records"))`."""
