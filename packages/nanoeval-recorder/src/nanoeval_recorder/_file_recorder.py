"""The one place that writes records: a file per run, one writer, no locks between processes.

Attempts hand over encoded events with their results; this appends them, names the position after
them, and goes back to a position. A record is one file, or with rotation several parts
`NAME.jsonl`, `NAME.0001.jsonl`, …, each of which starts with the header. Compressed, every batch is
a zstd frame of its own, so that cutting the file at a position leaves a valid one.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
from nanoeval_core.errors import RecorderError
from nanoeval_core.json_values import json_value, key_text, to_json
from nanoeval_core.recorder_protocol import View
from nanoeval_core.recording import TransactionalRecorder

from nanoeval_recorder.folder import ZST_SUFFIX, existing_parts, part_path, zstd

MARK = 4096
"""Bytes at the beginning and before a position by which a file is recognized."""
FILE_LINE = b'{"type":"file","sha256":"'
"""How the line of a file begins, in every format: the driver knows it without reading it."""


class FileRecorder(TransactionalRecorder):
    """A `TransactionalRecorder` that writes JSON Lines. Use it inside `with recorder:`.

    Formats subclass it and say what a line looks like.

    Attributes:
        path: the file that is written, or the first of its parts.
        around_number: how a line begins, before and after its event's number; None without one.
    """

    writes_at_once = True
    path: Path
    around_number: tuple[bytes, bytes] | None = None

    def _set_up(self, path: Path, rotate_bytes: int | None) -> None:
        self.path = path.absolute()
        self._rotate_bytes = rotate_bytes
        self._compress = zstd().compress if path.name.endswith(ZST_SUFFIX) else None
        self._lock = threading.RLock()  # events come on a thread, the final report on another
        self._fd: int | None = None
        self._part = 0
        self._offset = 0
        self._stamp: tuple[int, ...] = ()  # what the file was like after our last write
        self._marked = (-1, "")  # the last position that was asked for, and its mark
        self._event_id = 0
        self._needs_rewind = False
        self._final: tuple[bytes, int, int] | None = None  # its line, part and offset
        self._kept_files: set[bytes] = set()

    @abstractmethod
    def header(self, part: int) -> bytes:
        """Return the first line of part number `part`, with its newline."""

    @abstractmethod
    def final_line(self, final_report: Any) -> bytes:
        """Return the line of a final report, with its newline."""

    def evalboard_url(self, view: View) -> str | None:
        return self.path.as_uri() if view == "run" else None

    # --- opening

    def __enter__(self) -> Self:
        if self._fd is None:
            self._open()
        return self

    def __exit__(self, *exc: Any) -> None:
        with self._lock:
            self._close()

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._open_part(0)
            self._needs_rewind = os.fstat(self._handle()).st_size > 0
            if not self._needs_rewind:
                self._write(self.header(0))
        except OSError as error:
            self._close()
            raise RecorderError(
                f"cannot write records to {self.path}: {error.strerror or error}. Set "
                "NANOEVAL_LOG_DIR to a folder that can be written, or choose another recorder "
                "with RunnerArgs.recorder"
            ) from error

    def _open_part(self, part: int) -> None:
        self._close()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(part_path(self.path, part), flags, 0o644)
        self._part, self._offset, self._marked = part, 0, (-1, "")

    def _close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def _handle(self) -> int:
        if self._fd is None:
            raise RecorderError(
                f"the record {self.path} is not open: use the recorder inside `with recorder:`"
            )
        return self._fd

    # --- writing

    def write_events(self, events: Sequence[bytes]) -> None:
        """Append what attempts took, all of it or nothing.

        Raises:
            RecorderError: it could not be written; `position()` is what it was.
        """
        with self._lock:
            lines, next_id = self._numbered(events)
            if not lines:
                return
            final = self._take_back_final()
            self._append(lines)
            self._event_id = next_id
            if final is not None:
                self._append_final(final)

    def record_final_report(self, final_report: Any) -> None:
        """Write the last line. Called again, it replaces the former one."""
        with self._lock:
            if self._final is not None:
                self._take_back_final()
            self._append_final(self.final_line(final_report))

    def _append_final(self, line: bytes) -> None:
        part, offset = self._part, self._offset
        self._append(line)
        self._final = line, part, offset

    def _take_back_final(self) -> bytes | None:
        if self._final is None:
            return None
        self._check_unchanged()
        line, part, offset = self._final
        self._cut(part, offset)
        self._final = None
        return line

    def _append(self, lines: bytes) -> None:
        self._check_unchanged()
        try:
            if self._rotate_bytes is not None and self._offset >= self._rotate_bytes:
                self._start_part(self._part + 1)
            self._write(lines)
        except OSError as error:
            self._kept_files.clear()
            raise RecorderError(
                f"cannot write to the record {part_path(self.path, self._part)}: "
                f"{error.strerror or error}. Results are safe in the state file; make room, then "
                "resume the run to write what is missing"
            ) from error

    def _start_part(self, part: int) -> None:
        before = self._part, self._offset
        try:
            self._open_part(part)
            os.ftruncate(self._handle(), 0)
            self._write(self.header(part))
        except OSError:
            self._open_part(before[0])
            self._offset = before[1]
            raise

    def _write(self, lines: bytes) -> None:
        rest = memoryview(lines if self._compress is None else self._compress(lines))
        fd, offset = self._handle(), self._offset
        try:
            while rest:
                written = os.pwritev(fd, [rest], offset)
                rest, offset = rest[written:], offset + written
        except OSError:
            os.ftruncate(fd, self._offset)  # no torn line is left behind
            raise
        self._offset = offset
        self._stamp = _stamp(os.fstat(fd))

    def _numbered(self, events: Sequence[bytes]) -> tuple[bytes, int]:
        """Return the lines of encoded events, save those of known files, and the next number."""
        # This and the write are all that the driver does for an event: lines are copied once.
        pieces: list[bytes | memoryview] = []
        number = self._event_id
        before, after = self.around_number or (b"", b"")
        for chunk in events:
            view = memoryview(chunk)
            start, end = 0, chunk.find(b"\n") + 1
            while end:
                if not chunk.startswith(FILE_LINE, start) or self._is_new_file(chunk, start):
                    if before:
                        pieces += (b"%b%d%b" % (before, number, after), view[start + 1 : end])
                    else:
                        pieces.append(view[start:end])
                    number += 1
                start, end = end, chunk.find(b"\n", end) + 1
        return b"".join(pieces), number

    def _is_new_file(self, chunk: bytes, start: int) -> bool:
        """Return whether the file in the line at `start` is new to the record; it is kept now."""
        start += len(FILE_LINE)
        sha256 = chunk[start : start + 64]
        is_new = sha256 not in self._kept_files
        self._kept_files.add(sha256)
        return is_new

    # --- positions

    def position(self) -> str:
        with self._lock:
            if self._fd is None or self._needs_rewind:
                return ""
            if self._marked[0] != self._offset:
                self._marked = self._offset, _mark(self._fd, self._offset)
            saved = {"path": str(self.path), "part": self._part, "offset": self._offset}
            saved |= {"event_id": self._event_id, "mark": self._marked[1]}
            return encode(saved).decode()

    def rewind(self, position: str) -> None:
        """Cut the record back to `position`; to the empty one, start it afresh.

        Raises:
            RecorderError: it is no position of this recorder, or the file is not as it was then.
        """
        with self._lock:
            saved = _parse(position, type(self).__name__)
            path = Path(saved["path"] or self.path)
            if path != self.path and path.exists():
                # The run was recorded there before; ours was made a moment ago, by __enter__.
                if not self._needs_rewind:
                    self.path.unlink(missing_ok=True)
                self.path = path
            self._needs_rewind = True  # and still does, when this fails
            if not position:
                saved["offset"] = self._beginning()
            self._check_is(saved["part"], saved["offset"], saved["mark"])
            for part, other in existing_parts(self.path):
                if part > saved["part"]:
                    other.unlink()
            self._close()  # what is open may be another file than the one of that name
            self._cut(saved["part"], saved["offset"], begins=not position)
            self._event_id = saved["event_id"]
            self._needs_rewind = False
            self._final = None

    def _beginning(self) -> int:
        """Return where in its first part the record of the run begins."""
        return 0

    def _cut(self, part: int, offset: int, *, begins: bool = False) -> None:
        if self._fd is None or part != self._part:
            self._open_part(part)
        os.ftruncate(self._handle(), offset)
        self._offset = offset
        self._kept_files.clear()
        if begins:
            self._write(self.header(part))
        else:
            self._stamp = _stamp(os.fstat(self._handle()))

    def _check_is(self, part: int, offset: int, mark: str) -> None:
        """Raise `RecorderError` unless the file holds what was written before a position."""
        path = part_path(self.path, part)
        size = path.stat().st_size if path.exists() else -1
        found = "is gone; it had"
        if size >= offset:
            with path.open("rb") as file:
                if not mark or _mark(file.fileno(), offset) == mark:
                    return
            found = "has other content than the"
        elif size >= 0:
            found = f"has only {size} of"
        raise RecorderError(
            f"the record {path} {found} {offset} bytes that were written: it was moved, changed "
            "or removed since. Put it back and resume again; the results are safe in the state "
            "file"
        )

    def _check_unchanged(self) -> None:
        """Raise `RecorderError` if another hand replaced, cut or removed the file since."""
        if self._needs_rewind:
            raise RecorderError(
                f"the record {self.path} exists already: call rewind() with the position "
                "to go on from ('' to start it afresh), or give the run another run_id"
            )
        fd, path = self._handle(), part_path(self.path, self._part)
        try:
            stamp = _stamp(os.stat(path))
        except OSError:
            stamp = ()
        if stamp == self._stamp:
            return
        marked_at, mark = self._marked
        if stamp[:3] == self._stamp[:3] and (
            marked_at != self._offset or mark == _mark(fd, self._offset)
        ):
            self._stamp = stamp  # touched, and nothing more
            return
        what = "was changed by another process" if stamp else "was removed"
        raise RecorderError(
            f"the record {path} {what} while the run goes on. Put it back and resume the run to "
            "write what is missing; the results are safe in the state file"
        )


def check_rotate_bytes(config: Any, field: str) -> None:
    """Raise `ValueError` unless a config's field is a number of bytes, or None."""
    value = getattr(config, field)
    if value is not None and not value > 0:
        raise ValueError(f"{field}={value!r}: give a positive number, or None")


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _mark(fd: int, offset: int) -> str:
    """Return a digest of the beginning of a file and of what is before `offset`."""
    start = max(0, offset - MARK)
    ends = os.pread(fd, min(MARK, offset), 0) + os.pread(fd, offset - start, start)
    return hashlib.blake2b(ends, digest_size=8).hexdigest()


def _parse(position: str, kind: str) -> dict[str, Any]:
    none = {"path": "", "part": 0, "offset": 0, "event_id": 0, "mark": ""}
    try:
        saved = {**none, **msgspec.json.decode(position or "{}", type=dict[str, Any])}
    except msgspec.MsgspecError:
        saved = {}
    if [type(saved.get(name)) for name in none] != [type(value) for value in none.values()]:
        raise RecorderError(
            f"{position!r} is no position of a {kind}: resume a run with the recorder that it was "
            "started with"
        )
    return saved


# --- JSON lines of whatever a user records


def encode(value: Any) -> bytes:
    """Return `value` as one line of UTF-8 JSON: a snapshot. Never raises `Exception`."""
    try:
        return _encode_fast(value)
    except Exception:  # noqa: BLE001  whatever is wrong with it, the slow path has an answer
        return _encoder.encode(json_value(value))


def _hook(value: Any) -> Any:
    if value is None or type(value) is bool:  # asked of keys only: msgspec knows them as values
        return key_text(value)
    return to_json(value)


_encoder = msgspec.json.Encoder(enc_hook=_hook)


def _encode_if_shallow(value: Any) -> bytes:
    line = _encoder.encode(value)
    if b"]]]]]]]]" in line or b"}}}}}}}}" in line or b"]}]}]}]}" in line:  # it may be deep
        raise RecursionError
    return line


# From 3.12 on C code may nest ten times deeper than Python, and than an older Python can read.
_encode_fast = _encode_if_shallow if sys.version_info >= (3, 12) else _encoder.encode
