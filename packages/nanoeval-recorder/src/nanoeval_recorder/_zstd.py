"""zstd, from the standard library (Python 3.14) or the `zstandard` package."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from nanoeval_core.errors import RecorderError


def compressor() -> Callable[[bytes], bytes]:
    """A function that gives one complete zstd frame.

    Raises:
        RecorderError: this Python has no zstd.
    """
    module = _module()
    if module.__name__ == "zstandard":
        return cast("Callable[[bytes], bytes]", module.ZstdCompressor(level=3).compress)
    return cast("Callable[[bytes], bytes]", module.compress)


def open_reader(path: Path) -> BinaryIO:
    """The bytes of a compressed file. One that was cut off inside a frame may end early, silently.

    Raises:
        RecorderError: this Python has no zstd.
    """
    module = _module()
    if module.__name__ == "zstandard":
        raw = module.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True)
        return io.BufferedReader(raw, buffer_size=1 << 20)
    return cast("BinaryIO", module.open(path, "rb"))


def decompression_error() -> type[Exception]:
    """What reading bytes that are no zstd raises."""
    return cast("type[Exception]", _module().ZstdError)


def _module() -> Any:
    for name in ("compression.zstd", "zstandard"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise RecorderError(
        "records with compression='zst' need zstd, which this Python lacks: "
        "`pip install nanoeval-recorder[zstd]`, or leave compression out"
    )
