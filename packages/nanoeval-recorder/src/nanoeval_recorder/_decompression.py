"""Compressed records as plain bytes: cut off ones end where they were cut, damaged ones say so."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

from nanoeval_core.errors import RecorderError

from nanoeval_recorder import _zstd

BUFFER = 1 << 20


class DamagedRecord(RecorderError):
    """A compressed record that cannot be decompressed."""


def open_decompressed(file: Path) -> BinaryIO:
    """The bytes of a `.gz` or `.zst` file; not seekable.

    Raises:
        RecorderError: this Python has no zstd.
        DamagedRecord: while it is read: these bytes were never written by a compressor.
    """
    damage: tuple[type[Exception], ...]
    if file.name.endswith(".zst"):
        inner, damage = _zstd.open_reader(file), (_zstd.decompression_error(),)
    else:
        inner, damage = _gzip(file), (gzip.BadGzipFile, zlib.error)
    return io.BufferedReader(_Decompressed(file, inner, damage), buffer_size=BUFFER)


def _gzip(file: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.GzipFile(file, "rb"))


class _Decompressed(io.RawIOBase):
    def __init__(self, file: Path, inner: BinaryIO, damage: tuple[type[Exception], ...]) -> None:
        self._file = file
        self._inner = inner
        self._damage = damage

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            return cast("io.BufferedReader", self._inner).readinto1(buffer)
        except EOFError:
            return 0  # its writer has not ended it yet, or never will
        except self._damage as error:
            raise DamagedRecord(
                f"{self._file} cannot be decompressed: {error}. It is damaged, or its name's "
                "ending is wrong"
            ) from error

    def close(self) -> None:
        self._inner.close()
        super().close()
