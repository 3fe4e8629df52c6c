"""Records as plain bytes: cut off ones end where they were cut, damaged ones say so."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

from nanoeval_core.errors import RecorderError

from nanoeval_recorder.folder import zstd

BUFFER = 1 << 20


class DamagedRecord(RecorderError):
    """A compressed record that cannot be decompressed."""


def open_record(file: Path) -> BinaryIO:
    """Open a record; what is read is decompressed.

    Raises:
        OSError: it cannot be opened.
        RecorderError: it is no regular file, or compressed in a way that this Python lacks.
        DamagedRecord: while it is read: these bytes were never written by a compressor.
    """
    damage: tuple[type[Exception], ...]
    module = zstd() if file.name.endswith(".zst") else None
    raw = _open_regular(file)
    if module is not None:
        inner, damage = cast("BinaryIO", module.open(raw, "rb")), (module.ZstdError,)
    elif file.name.endswith(".gz"):
        inner = cast("BinaryIO", gzip.GzipFile(fileobj=raw, mode="rb"))
        damage = (gzip.BadGzipFile, zlib.error)
    else:
        return raw
    return io.BufferedReader(_Decompressed(file, raw, inner, damage), buffer_size=BUFFER)


def _open_regular(file: Path) -> BinaryIO:
    """Open a file that ends: a pipe that nobody writes to would be waited for, for ever."""
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise RecorderError(f"{file} is no regular file: give a record, or a folder of records")
    return open(fd, "rb", buffering=BUFFER)


class _Decompressed(io.RawIOBase):
    def __init__(
        self, file: Path, raw: BinaryIO, inner: BinaryIO, damage: tuple[type[Exception], ...]
    ) -> None:
        self._file = file
        self._raw = raw
        self._inner = inner
        self._damage = damage

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            part = cast("io.BufferedReader", self._inner).read1(len(buffer))
        except EOFError:
            return 0  # its writer has not ended it yet, or never will
        except self._damage as error:
            raise DamagedRecord(
                f"{self._file} cannot be decompressed: {error}. It is damaged, or its name's "
                "ending is wrong"
            ) from error
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        self._inner.close()
        self._raw.close()
        super().close()
