"""The json recorder: flat lines, each with `timestamp` and `record_type`.

docs/records.md describes the fields of each type.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import chz
from nanoeval_core.recorder_protocol import BasicRunSpec, RunSpec

from nanoeval_recorder._attempt import BufferedAttempt
from nanoeval_recorder._file_recorder import FileRecorder
from nanoeval_recorder._run_description import describe_run
from nanoeval_recorder._values import encode
from nanoeval_recorder.evallib import FileRecorderConfig, run_spec_for

if TYPE_CHECKING:
    from nanoeval_core.spec import EvalSpec

_RESERVED = frozenset({"timestamp", "record_type", "sample_id", "group_id"})


class JsonFormat:
    """Encodes whole lines; the driver only writes them."""

    def __init__(self, run_spec: RunSpec, urls: Mapping[str, str]) -> None:
        self.run_spec = run_spec
        self.urls = urls

    def attempt(self, sample_id: str | None, group_id: str | None) -> JsonAttempt:
        return JsonAttempt(self, sample_id, group_id)


class JsonAttempt(BufferedAttempt):
    """Collects an attempt's events as the format has them."""

    __slots__ = ()

    def record_event(self, event_type: str, data: Any) -> None:
        fields = {"data": data} if event_type == "extra" else data
        line = _line(event_type, self.sample_id, self.group_id)
        if self.extra:
            fields = {**self.extra, **fields}
        if not _RESERVED.isdisjoint(fields):
            fields = {f"{name}_" if name in _RESERVED else name: v for name, v in fields.items()}
        line.update(fields)
        self.keep(event_type, line)


def _line(record_type: str, sample_id: str | None, group_id: str | None) -> dict[str, Any]:
    return {
        "timestamp": datetime.datetime.now(datetime.UTC),
        "record_type": record_type,
        "sample_id": sample_id,
        "group_id": group_id,
    }


class JsonRecorder(FileRecorder):
    """Writes one run in the json format. Made by `json_recorder().factory`.

    Args:
        run_spec: the ids of the run.
        path: the file, ending in `.jsonl` or `.jsonl.zst`.
        spec: what the `run_started` line says of the run.
        rotate_bytes: start another file once one has this many bytes; None never does.
    """

    def __init__(
        self,
        run_spec: RunSpec,
        path: Path,
        *,
        spec: Mapping[str, Any] | None = None,
        rotate_bytes: int | None = None,
    ) -> None:
        super().__init__(run_spec, path, rotate_bytes=rotate_bytes)
        ids = {"run_id": run_spec.run_id, "run_set_id": run_spec.run_set_id}
        self._spec = {**(spec or {}), **ids}
        self._format = JsonFormat(run_spec, self.urls)

    @property
    def format(self) -> JsonFormat:
        return self._format

    def header(self, part: int) -> bytes:
        line = {**_line("run_started", None, None), **self._spec}
        return encode({**line, "part": part} if part else line) + b"\n"

    def number_lines(self, events: Sequence[bytes], first_id: int) -> tuple[Sequence[bytes], int]:
        return [lines for lines in events if lines], first_id  # they have no numbers

    def final_line(self, final_report: Any) -> bytes:
        ids = {"run_id": self.run_spec.run_id, "final_report": final_report}
        return encode({**_line("final_report", None, None), **ids}) + b"\n"


@chz.chz
class JsonRecorderConfig(FileRecorderConfig):
    """Builds `JsonRecorder`s."""

    def path_of(self, run_spec: BasicRunSpec, eval_name: str) -> Path:
        # Beside the evallib record of the same run, when both are kept, not over it.
        name = run_spec.eval_name or eval_name
        return super().path_of(dataclasses.replace(run_spec, eval_name=f"{name}_json"), name)

    async def factory(self, spec: EvalSpec, num_tasks: int) -> JsonRecorder:
        run_spec = run_spec_for(spec)
        return JsonRecorder(
            run_spec,
            self.path_of(run_spec, spec.eval.get_name()),
            spec=await describe_run(spec, run_spec, num_tasks),
            rotate_bytes=self.rotate_bytes,
        )


def json_recorder(
    *,
    log_dir: str | None = None,
    compression: Literal["zst"] | None = None,
    rotate_bytes: int | None = None,
) -> JsonRecorderConfig:
    """Record runs as flat JSON Lines, one file per run in `log_dir` (else `NANOEVAL_LOG_DIR`)."""
    return JsonRecorderConfig(log_dir=log_dir, compression=compression, rotate_bytes=rotate_bytes)
