"""Folders, by name."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

from nanoeval_core.errors import ConfigError
from nanoeval_core.library_config import get_library_config, root_dir


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


def user_folder(kind: Literal["state", "cache"], *, setting: str = "") -> Path:
    """Return the platform's folder for a user's state, or for what can be made again; ours in it.

    Raises:
        ConfigError: the user has no home folder; `setting` names what chooses another one.
    """
    import platformdirs  # noqa: PLC0415  where every folder is configured, none is asked for

    find = platformdirs.user_state_path if kind == "state" else platformdirs.user_cache_path
    try:
        folder = find("nanoeval", appauthor=False)
    except RuntimeError:  # of some versions; others leave the `~` where it is
        folder = Path("~")
    if not folder.is_absolute():
        alone = f" (or {setting} for this one alone)" if setting else ""
        raise ConfigError(
            f"user {os.getuid()} has no home folder (HOME is not set, and the system knows of "
            f"none): set HOME or XDG_{kind.upper()}_HOME{alone} to a folder that can be written"
        )
    return folder


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
