"""The json recorder: flat lines, each with `timestamp` and `record_type`.

docs/records.md describes the fields of each type.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import chz
import msgspec
from nanoeval_core.recorder_protocol import RecorderConfig, RunSpec
from nanoeval_core.recording import as_bool, text_of

from nanoeval_recorder._description import describe_run
from nanoeval_recorder._file_recorder import FILE_LINE, FileRecorder, check_rotate_bytes, encode
from nanoeval_recorder.folder import SUFFIX, ZST_SUFFIX, records_folder, split_name, zstd

if TYPE_CHECKING:
    from nanoeval_core.spec import EvalSpec

__all__ = ["JsonRecorder", "JsonRecorderConfig", "json_line", "json_recorder"]

# What a line is, whatever an eval records; a recorded sample_id or group_id overrides the line's.
_OWN = frozenset({"timestamp", "record_type"})
_MATCH = {"correct": None, "expected": None, "picked": None, "prob_correct": None}
_STARTED = b'"record_type":"run_started"'


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
    if type(data) is dict:
        if kind == "match":
            correct = data.get("correct")
            is_bool = correct is True or correct is False
            fields = {**_MATCH, **data}
            if not is_bool:
                fields["correct"] = as_bool(correct)
        elif kind == "sampling":
            fields = {k: v for k, v in data.items() if k != "extra_allowed_metadata_fields"}
        elif kind == "sample_completed":
            fields = {"status": "completed", **data}
        elif kind == "error":
            msg, error = data.pop("msg", None), data.pop("error", None)
            said = text_of(error) if error is not None else None
            fields = {"message": msg, "error": said, **data}
        elif kind == "file":
            sha256 = data.pop("sha256")
            fields = {"data": data}
            file = {"type": "file", "sha256": sha256}
            line = {**file, **_base(time, kind, sample_id, group_id), **fields}
            return encode(line) + b"\n"
    line = _base(time, kind, sample_id, group_id)
    for more in (extra or {}), fields:
        if "timestamp" in more or "record_type" in more:  # these two say what the line is
            line |= {
                f"{k}_" if k in ("timestamp", "record_type") else k: v for k, v in more.items()
            }
        else:
            line |= more
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
        run_spec: the ids of the run.
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
        self._set_up(Path(self.filename), self.rotate_bytes)
        if self.at_once:
            self._enter()
            self._check_unchanged()

    def __enter__(self) -> JsonRecorder:
        if self._fd is None:
            self._enter()
        return self

    def __exit__(self, *exc: Any) -> None:
        if not self.at_once:
            super().__exit__(*exc)

    def __del__(self) -> None:
        if getattr(self, "_fd", None) is not None:
            self._close()

    def _enter(self) -> None:
        first, number = self.path, 1
        while True:
            self._needs_rewind = not self._open()
            if _locked(self._handle()):
                return
            self._close()
            number += 1
            stem, suffix = split_name(first)
            self.path = first.with_name(f"{stem}.{number}{suffix}")

    def current_sample_id(self) -> str | None:
        return self.sample_id

    def current_group_id(self) -> str | None:
        return self.group_id

    def header(self, part: int) -> bytes:
        ids = {"run_id": self.run_spec.run_id, "run_set_id": self.run_spec.run_set_id}
        line = _base(datetime.datetime.now(datetime.UTC), "run_started", None, None)
        line |= {"run_spec": ids, **(self.spec or {})}
        return encode({**line, "part": part} if part else line) + b"\n"

    def number_lines(self, events: Sequence[bytes], first_id: int) -> tuple[Sequence[bytes], int]:
        pieces = []
        for chunk in events:
            if FILE_LINE not in chunk:
                pieces.append(chunk)
                continue
            start, end = 0, chunk.find(b"\n") + 1
            while end:
                if not chunk.startswith(FILE_LINE, start) or self._is_new_file(chunk, start):
                    pieces.append(chunk[start:end])
                start, end = end, chunk.find(b"\n", end) + 1
        return pieces, first_id  # they have no numbers

    def final_line(self, final_report: Any) -> bytes:
        line = _base(datetime.datetime.now(datetime.UTC), "final_report", None, None)
        return encode({**line, "final_report": final_report}) + b"\n"

    def record_final_report(self, final_report: Any) -> None:
        """Write a line; that of a finished run replaces the one before, a partial one stays."""
        if isinstance(final_report, Mapping) and final_report.get("partial"):
            with self._lock:
                self._append([self.final_line(final_report)])
        else:
            super().record_final_report(final_report)

    # --- a file that holds other runs

    def _check_unchanged(self) -> None:
        if self._needs_rewind:  # this run is new, and goes on after the others
            self._go_to_end()
        super()._check_unchanged()

    def rewind(self, position: str) -> None:
        with self._lock:
            if not position and self._needs_rewind:
                start = self._own_start()
                if start is None or self._others_after(start):
                    self._go_to_end()
                    return
                self._cut(0, start)
                self._needs_rewind = False
                if start:
                    self._write([self.header(0)])
                return
            super().rewind(position)

    def _cut(self, part: int, offset: int) -> None:
        if self._others_after(offset):
            self._go_to_end()
        else:
            super()._cut(part, offset)

    def _go_to_end(self) -> None:
        if self._fd is None:
            self._open_part(0)
        self._offset = os.fstat(self._handle()).st_size
        self._needs_rewind = False
        self._write([self.header(self._part)])

    def _own_start(self) -> int | None:
        """Return where in the file this run begins."""
        found = None
        for offset, run_id in self._starts(0):
            if run_id == self.run_spec.run_id and found is None:
                found = offset
        return found

    def _others_after(self, offset: int) -> bool:
        return any(run_id != self.run_spec.run_id for _, run_id in self._starts(offset))

    def _starts(self, offset: int) -> list[tuple[int, Any]]:
        """Return where runs begin from `offset` on, and their ids."""
        found = []
        for start, line in self._written(offset):
            if _STARTED in line[:200]:
                try:
                    ids = msgspec.json.decode(line).get("run_spec")
                except msgspec.MsgspecError:
                    ids = None
                found.append((start, ids.get("run_id") if isinstance(ids, dict) else None))
        return found

    def _written(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """Yield each line from `offset` on, and where it is; compressed, each frame's content.

        The line that begins a run is a frame of its own.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(offset)
            if self._compress is None:
                for line in file:
                    yield offset, line
                    offset += len(line)
                return
            rest = memoryview(file.read())
        while rest:
            try:
                size = zstd().get_frame_size(rest)
            except zstd().ZstdError:  # its writer was killed
                return
            yield offset, zstd().decompress(rest[:size])
            offset, rest = offset + size, rest[size:]


def _locked(fd: int) -> bool:
    """Lock an open file for as long as it is open; False when another run has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


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
