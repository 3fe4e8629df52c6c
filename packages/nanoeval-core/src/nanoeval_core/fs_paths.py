"""Folders, by name."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from nanoeval_core.library_config import get_library_config, root_dir, user_folder


def database_dir() -> Path:
    """Return the folder `nanoeval` in the temp folder, made if need be.

    State files are there too where there is no `/dev/shm` and `LibraryConfig.state_dir` and
    `NANOEVAL_STATE_DIR` name no other folder.
    """
    return _made(root_dir())


def stacktrace_root_dir() -> Path:
    """Return its folder `stack_traces`, made if need be."""
    return _made(root_dir() / "stack_traces")


@lru_cache(1)
def writable_root_dir() -> str:
    """Return `LibraryConfig.writable_root_dir()`, asked once per process."""
    return get_library_config().writable_root_dir()


def get_package_root() -> Path:
    """Return the folder that holds this source, in a checkout where that is called `nanoeval`.

    Raises:
        ValueError: it is called otherwise: nanoeval is installed elsewhere.
    """
    for folder in Path(__file__).parents:
        if (folder / "packages" / "nanoeval-core").is_dir() and folder.name == "nanoeval":
            return folder
    raise ValueError(
        "nanoeval does not run from a checkout in a folder called 'nanoeval', so it has no "
        "package root: name the folder you mean"
    )


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


__all__ = [
    "database_dir",
    "get_package_root",
    "root_dir",
    "stacktrace_root_dir",
    "user_folder",
    "writable_root_dir",
]
