"""Records as plain bytes: cut off ones end where they were cut, damaged ones say so."""

from __future__ import annotations

import gzip
import io
import stat
import zlib
from pathlib import Path
from typing import Any, BinaryIO

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
    if not stat.S_ISREG(file.stat().st_mode):  # a pipe may be waited for, for ever
        raise RecorderError(f"{file} is no regular file: give a record, or a folder of records")
    if file.suffix == ".zst":
        inner = _Decompressed(file, zstd().open(file, "rb"), zstd().ZstdError)
    elif file.suffix == ".gz":
        inner = _Decompressed(file, gzip.GzipFile(file, "rb"), gzip.BadGzipFile, zlib.error)
    else:
        return file.open("rb", buffering=BUFFER)
    return io.BufferedReader(inner, buffer_size=BUFFER)


class _Decompressed(io.RawIOBase):
    def __init__(self, file: Path, inner: Any, *damage: type[Exception]) -> None:
        self._file = file
        self._inner = inner
        self._damage = damage

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            part = self._inner.read1(len(buffer))
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
        super().close()
