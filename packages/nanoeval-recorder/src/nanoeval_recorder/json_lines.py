"""The json recorder: flat lines, each with `timestamp` and `record_type`.

docs/records.md describes the fields of each type.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import chz
from nanoeval_core.recorder_protocol import RecorderConfig, RunSpec
from nanoeval_core.recording import as_bool, text_of

from nanoeval_recorder._description import describe_run
from nanoeval_recorder._file_recorder import FileRecorder, check_rotate_bytes, encode
from nanoeval_recorder.folder import (
    SUFFIX,
    ZST_SUFFIX,
    frames,
    part_path,
    records_folder,
    split_name,
    zstd,
)

if TYPE_CHECKING:
    from nanoeval_core.spec import EvalSpec

__all__ = ["JsonRecorder", "JsonRecorderConfig", "json_line", "json_recorder"]

_MATCH = {"correct": None, "expected": None, "picked": None, "prob_correct": None}
_STARTED = re.compile(
    rb'\{"timestamp":"[^"]*","record_type":"run_started","sample_id":null,"group_id":null,'
    rb'"run_spec":\{"run_id":("(?:[^"\\]|\\.)*")'
)


def json_line(
    kind: str,
    data: Any,
    sample_id: str | None,
    group_id: str | None,
    time: datetime.datetime,
    extra: Mapping[str, Any] | None,
) -> bytes:
    """Return the line of an event."""
    fields: dict[str, Any] = {"data": data}
    first = {}
    if type(data) is dict:
        if kind == "match":
            fields = {**_MATCH, **data}
            fields["correct"] = as_bool(fields["correct"])
        elif kind == "sampling":
            fields = {k: v for k, v in data.items() if k != "extra_allowed_metadata_fields"}
        elif kind == "sample_completed":
            fields = {"status": "completed", **data}
        elif kind == "error":
            msg, error = data.pop("msg", None), data.pop("error", None)
            said = text_of(error) if error is not None else None
            fields = {"message": msg, "error": said, **data}
        elif kind == "file":
            first = {"type": kind, "sha256": data.pop("sha256")}
    line = {**first, **_base(time, kind, sample_id, group_id)}
    for more in (extra or {}), fields:  # a recorded sample_id or group_id overrides the line's
        line |= {f"{k}_" if k in ("timestamp", "record_type") else k: v for k, v in more.items()}
    return encode(line) + b"\n"


def _base(
    time: datetime.datetime, kind: str, sample_id: str | None, group_id: str | None
) -> dict[str, Any]:
    ids = {"sample_id": sample_id, "group_id": group_id}
    return {"timestamp": time.isoformat(), "record_type": kind, **ids}


@dataclasses.dataclass(eq=False)
class JsonRecorder(FileRecorder):
    """Appends one run in the json format to a file, which begins or goes on with `run_started`.

    Two runs at the same time never share a file: the second takes `NAME.2.jsonl`.

    Attributes:
        filename: the file, ending in `.jsonl` or `.jsonl.zst`.
        sample_id: whose events those outside of attempts are.
        group_id: the same for the group.
        spec: what `run_started` says of the run in addition to its ids.
        rotate_bytes: start another file once one has this many bytes; None never does.
        at_once: open the file now, and keep it open; else `with recorder:` opens and closes it.
    """

    encode = staticmethod(json_line)
    folds_dialogues = False  # prompts are as they were given

    run_spec: RunSpec
    filename: Path
    sample_id: str | None = None
    group_id: str | None = None
    _: dataclasses.KW_ONLY
    spec: Mapping[str, Any] | None = None
    rotate_bytes: int | None = None
    at_once: bool = True

    def __post_init__(self) -> None:
        self._run_id = encode(self.run_spec.run_id)
        self._set_up(Path(self.filename), self.rotate_bytes)
        if self.at_once:
            self._open()
            self._check_unchanged()

    def __exit__(self, *exc: Any) -> None:
        if not self.at_once:
            super().__exit__(*exc)

    def __del__(self) -> None:
        if getattr(self, "_fd", None) is not None:
            self._close()

    def _open(self) -> None:
        first, number = self.path, 1
        super()._open()
        while not self._locked:
            number += 1
            stem, suffix = split_name(first)
            self.path = first.with_name(f"{stem}.{number}{suffix}")
            super()._open()

    def _open_part(self, part: int) -> None:
        super()._open_part(part)
        try:
            fcntl.flock(self._handle(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._locked = True  # for as long as it is open
        except OSError as error:
            # Another run has it; elsewhere there are file systems without locks.
            self._locked = not isinstance(error, BlockingIOError)

    def current_sample_id(self) -> str | None:
        return self.sample_id

    def current_group_id(self) -> str | None:
        return self.group_id

    def header(self, part: int) -> bytes:
        ids = {"run_id": self.run_spec.run_id, "run_set_id": self.run_spec.run_set_id}
        line = _base(datetime.datetime.now(datetime.UTC), "run_started", None, None)
        line |= {"run_spec": ids, **(self.spec or {})}
        return encode({**line, "part": part} if part else line) + b"\n"

    def final_line(self, final_report: Any) -> bytes:
        line = _base(datetime.datetime.now(datetime.UTC), "final_report", None, None)
        return encode({**line, "final_report": final_report}) + b"\n"

    def record_final_report(self, final_report: Any) -> None:
        """Write a line; that of a finished run replaces the one before, a partial one stays."""
        if isinstance(final_report, Mapping) and final_report.get("partial"):
            with self._lock:
                self._append(self.final_line(final_report))
        else:
            super().record_final_report(final_report)

    # --- a file that holds other runs

    def _check_unchanged(self) -> None:
        if self._needs_rewind:  # this run is new, and goes on after the others
            self._needs_rewind = False
            self._cut(0, os.fstat(self._handle()).st_size, begins=True)
        super()._check_unchanged()

    def _beginning(self) -> int:
        ours = (at for at, run_id in self._starts(0, 0) if run_id == self._run_id)
        return next(ours, os.fstat(self._handle()).st_size)

    def _cut(self, part: int, offset: int, *, begins: bool = False) -> None:
        if any(run_id != self._run_id for _, run_id in self._starts(part, offset)):
            offset, begins = part_path(self.path, part).stat().st_size, True
        super()._cut(part, offset, begins=begins)

    def _starts(self, part: int, offset: int) -> Iterator[tuple[int, bytes]]:
        """Yield where runs begin from `offset` on, and their ids as JSON.

        Such a line is a frame of its own in a compressed file.
        """
        path = part_path(self.path, part)
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(offset)
            for line in file if self._compress is None else frames(file.read()):
                text = line if self._compress is None else zstd().decompress(line)
                if started := _STARTED.match(text):
                    yield offset, started[1]
                offset += len(line)


@chz.chz
class JsonRecorderConfig(RecorderConfig):
    """Builds `JsonRecorder`s."""

    filename: Path = chz.field(doc="The file; ending in .jsonl.zst, it is compressed.")
    rotate_bytes: int | None = chz.field(
        default=None,
        validator=check_rotate_bytes,
        doc="Start another file once one has this many (compressed) bytes.",
    )

    async def factory(self, spec: EvalSpec, num_tasks: int) -> JsonRecorder:
        run_spec = self._make_default_run_spec(spec)
        return JsonRecorder(
            run_spec,
            Path(self.filename),
            spec=await describe_run(spec, run_spec, num_tasks),
            rotate_bytes=self.rotate_bytes,
            at_once=False,
        )


def json_recorder(
    *,
    log_dir: str | None = None,
    compression: Literal["zst"] | None = None,
    rotate_bytes: int | None = None,
) -> JsonRecorderConfig:
    """Record runs as flat JSON Lines in `log_dir` (else `NANOEVAL_LOG_DIR`).

    The file is called by the time of this call: `2026-11-27_T_15-06-40_UTC.jsonl`.
    """
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d_T_%H-%M-%S_UTC")
    suffix = ZST_SUFFIX if compression == "zst" else SUFFIX
    folder = records_folder(log_dir)
    with contextlib.suppress(OSError):  # told when the file is opened, with what to do about it
        folder.mkdir(parents=True, exist_ok=True)
    return JsonRecorderConfig(filename=folder / f"{stamp}{suffix}", rotate_bytes=rotate_bytes)
