"""Where records are: their folder, the names of their files and parts, and zstd."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

from nanoeval_core.errors import RecorderError
from nanoeval_core.fs_paths import user_folder

__all__ = ["records_folder"]

_SETTING = "NANOEVAL_LOG_DIR"
SUFFIX = ".jsonl"
ZST_SUFFIX = ".jsonl.zst"
GZ_SUFFIX = ".jsonl.gz"  # never written by us; people compress records to keep them
MAX_NAME = 100


def records_folder(configured: str | None = None) -> Path:
    """Return `configured`, else `NANOEVAL_LOG_DIR`, else a folder in that of the user's state.

    Raises:
        ConfigError: the user has no home folder.
    """
    if chosen := configured or os.environ.get(_SETTING):
        return Path(chosen).expanduser()
    return user_folder("state", setting=_SETTING) / "records"


def record_path(folder: Path, run_id: str, eval_name: str, *, compressed: bool) -> Path:
    """Return where the record of a run belongs: always the same for the same arguments."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", eval_name)[:MAX_NAME].strip("-.")
    return folder / f"{run_id}{'_' + name if name else ''}{ZST_SUFFIX if compressed else SUFFIX}"


def split_name(path: Path) -> tuple[str, str]:
    """Return `path.name` as what is before `.jsonl`, `.jsonl.zst` or `.jsonl.gz`, and that."""
    for suffix in (ZST_SUFFIX, GZ_SUFFIX, SUFFIX):
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix), suffix
    return path.name, ""


def part_path(path: Path, part: int) -> Path:
    """Return the file of part number `part` of the record that begins with `path`."""
    if not part:
        return path
    stem, suffix = split_name(path)
    return path.with_name(f"{stem}.{part:04d}{suffix}")


def existing_parts(path: Path) -> list[tuple[int, Path]]:
    """Return the parts of the record that begins with `path`, in order, with their numbers.

    Parts after one that was removed are parts too.
    """
    found = [(0, path)] if path.exists() else []
    # Nearly no record has parts, and its folder may hold 10,000 others.
    if not part_path(path, 1).exists():
        return found
    stem, suffix = split_name(path)
    pattern = re.compile(re.escape(stem) + r"\.(\d{4,})" + re.escape(suffix))
    others = ((pattern.fullmatch(other.name), other) for other in path.parent.iterdir())
    return sorted([*found, *((int(match[1]), other) for match, other in others if match)])


def zstd() -> ModuleType:
    """Return the module for zstd: the standard library's, or `backports.zstd` before 3.14.

    Raises:
        RecorderError: this Python has neither.
    """
    try:
        return import_module(
            "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
        )
    except ImportError as error:
        raise RecorderError(
            "records with compression='zst' need zstd, which this Python lacks: "
            "`pip install 'nanoeval-recorder[zstd]'`, or leave compression out"
        ) from error


def frames(content: bytes) -> Iterator[memoryview]:
    """Yield the frames of a compressed record, up to one that its writer did not end."""
    rest = memoryview(content)
    while rest:
        try:
            size = zstd().get_frame_size(rest)
        except zstd().ZstdError:
            return
        yield rest[:size]
        rest = rest[size:]
