"""One run's record on disk: append whole batches, name a position, go back to one.

A record is one file, or with rotation several parts `NAME.jsonl`, `NAME.0001.jsonl`, …, each of
which starts with the header. Compressed, every batch is a zstd frame of its own, so that a
position is a frame's end and cutting the file there leaves a valid one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from nanoeval_core.errors import RecorderError

from nanoeval_recorder._zstd import compressor

SUFFIX = ".jsonl"
ZST_SUFFIX = ".jsonl.zst"
GZ_SUFFIX = ".jsonl.gz"  # never written by us; people compress records to keep them
MAX_NAME = 100
MAX_PIECES = 1000  # of one system call; the usual limit is 1024


class Position(NamedTuple):
    """An end of a batch: `offset` bytes into part number `part`."""

    part: int
    offset: int


class RecordFile:
    """The file or files of one run. Not safe for several threads at once: callers lock.

    Args:
        path: of the first part; ends in `.jsonl` or `.jsonl.zst`, which decides the compression.
        header: gives the first line of a part, by its number.
        rotate_bytes: start another part once one has this many bytes; None never does.
    """

    def __init__(
        self, path: Path, *, header: Callable[[int], bytes], rotate_bytes: int | None = None
    ) -> None:
        self.path = path
        self._header = header
        self._rotate_bytes = rotate_bytes
        self._compress = compressor() if path.name.endswith(ZST_SUFFIX) else None
        self._fd: int | None = None
        self._part = 0
        self._offset = 0

    @property
    def is_open(self) -> bool:
        return self._fd is not None

    def open(self) -> bool:
        """Open the first part; True if it is new (or empty), and then has its header by now.

        Raises:
            RecorderError: the folder or file cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._open_part(0)
            if os.fstat(self._handle()).st_size:
                return False
            self._write_header()
        except OSError as error:
            self.close()
            raise RecorderError(
                f"cannot write records to {self.path}: {error.strerror or error}. Set "
                "NANOEVAL_LOG_DIR to a folder that can be written, or choose another recorder "
                "with RunnerArgs.recorder"
            ) from error
        return True

    def append(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write `pieces` of whole lines one after the other, all of them or nothing.

        Raises:
            RecorderError: they could not be written; the position is what it was.
        """
        try:
            if self._rotate_bytes is not None and self._offset >= self._rotate_bytes:
                self._start_part(self._part + 1)
            self._write(pieces)
        except OSError as error:
            raise RecorderError(
                f"cannot write to the record {self.part_path(self._part)}: "
                f"{error.strerror or error}. Results are safe in the state file; make room, then "
                "resume the run to write what is missing"
            ) from error

    def position(self) -> Position:
        return Position(self._part, self._offset)

    def rewind(self, position: Position) -> None:
        """Cut off what was written after `position`; offset 0 of part 0 starts afresh.

        Raises:
            RecorderError: the file is gone, or shorter than that.
        """
        path = self.part_path(position.part)
        size = path.stat().st_size if path.exists() else -1
        if size < position.offset:
            found = f"has only {size} of" if size >= 0 else "is gone; it had"
            raise RecorderError(
                f"the record {path} {found} {position.offset} bytes that were written: it was "
                "moved, changed or removed since. Put it back and resume again; the results are "
                "safe in the state file"
            )
        for part, other in self.parts():
            if part > position.part:
                other.unlink()
        self._open_part(position.part)
        os.ftruncate(self._handle(), position.offset)
        self._offset = position.offset
        if not position.offset:
            self._write_header()

    def part_path(self, part: int) -> Path:
        stem, suffix = split_name(self.path)
        return self.path if not part else self.path.with_name(f"{stem}.{part:04d}{suffix}")

    def parts(self) -> list[tuple[int, Path]]:
        """The parts that exist, in order, with their numbers."""
        return existing_parts(self.path)

    def close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def _handle(self) -> int:
        if self._fd is None:
            raise RecorderError(
                f"the record {self.path} is not open: use the recorder inside `with recorder:`"
            )
        return self._fd

    def _open_part(self, part: int) -> None:
        self.close()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(self.part_path(part), flags, 0o644)
        self._part, self._offset = part, 0

    def _start_part(self, part: int) -> None:
        before = self.position()
        try:
            self._open_part(part)
            os.ftruncate(self._handle(), 0)
            self._write_header()
        except OSError:
            self._open_part(before.part)
            self._offset = before.offset
            raise

    def _write_header(self) -> None:
        self._write([self._header(self._part)])

    def _write(self, pieces: Sequence[bytes | memoryview]) -> None:
        if self._compress is not None:
            pieces = [self._compress(b"".join(pieces))]
        fd, offset = self._handle(), self._offset
        try:
            for start in range(0, len(pieces), MAX_PIECES):
                offset += _write_all(fd, pieces[start : start + MAX_PIECES], offset)
        except OSError:
            os.ftruncate(fd, self._offset)  # no torn line is left behind
            raise
        self._offset = offset


def _write_all(fd: int, pieces: Sequence[bytes | memoryview], offset: int) -> int:
    """Write `pieces` at `offset`, without copying them together, and give their size."""
    size = sum(map(len, pieces))
    written = os.pwritev(fd, pieces, offset)
    if written < size:
        rest = memoryview(b"".join(pieces))
        while written < size:
            written += os.pwrite(fd, rest[written:], offset + written)
    return size


def record_path(folder: Path, run_id: str, eval_name: str, *, compressed: bool) -> Path:
    """Where the record of a run belongs: always the same for the same arguments."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", eval_name)[:MAX_NAME].strip("-.")
    return folder / f"{run_id}{'_' + name if name else ''}{ZST_SUFFIX if compressed else SUFFIX}"


def split_name(path: Path) -> tuple[str, str]:
    """`path.name` as what is before `.jsonl`, `.jsonl.zst` or `.jsonl.gz`, and that."""
    for suffix in (ZST_SUFFIX, GZ_SUFFIX, SUFFIX):
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix), suffix
    return path.name, ""


def existing_parts(path: Path) -> list[tuple[int, Path]]:
    """The parts of the record whose first part is `path`, in order, with their numbers."""
    stem, suffix = split_name(path)
    pattern = re.compile(re.escape(stem) + r"\.(\d{4,})" + re.escape(suffix))
    found = [(0, path)] if path.exists() else []
    if path.parent.is_dir():
        for other in path.parent.iterdir():
            match = pattern.fullmatch(other.name)
            if match:
                found.append((int(match[1]), other))
    return sorted(found)
