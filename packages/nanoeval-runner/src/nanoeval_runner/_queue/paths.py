"""Where state lives, and who may read it: folders 0700, files 0600, owner checked."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from nanoeval_core.errors import ConfigError, StateError
from nanoeval_core.fs_paths import user_folder
from nanoeval_core.library_config import get_library_config

SUFFIX = ".db"

RESTORING = ".restoring"
"""Of a backup that is being copied to where the state file belongs."""

UPLOADING = ".uploading"
"""Of a copy on its way to a URL."""


def state_dir() -> Path:
    """Return the folder of state files, created if need be.

    `LibraryConfig.state_dir()` (by default the environment's `NANOEVAL_STATE_DIR`), else
    `/dev/shm/nanoeval`, else `nanoeval` in the temp folder. Where another user owns that shared
    name, ours has the user id in it.

    Raises:
        ConfigError: it cannot be created or written.
        StateError: another user owns it.
    """
    configured = get_library_config().state_dir()
    if configured is not None:
        return private_folder(configured.expanduser(), setting="NANOEVAL_STATE_DIR")
    shm = Path("/dev/shm")
    base = shm if os.access(shm, os.W_OK) else Path(tempfile.gettempdir())
    folder = base / "nanoeval"
    if folder.exists() and folder.stat().st_uid != os.getuid():
        folder = base / f"nanoeval-{os.getuid()}"
    return private_folder(folder, setting="NANOEVAL_STATE_DIR")


def backup_location() -> str:
    """Return a folder or an fsspec URL: `NANOEVAL_BACKUP_DIR`, else in the user's state folder."""
    return os.environ.get("NANOEVAL_BACKUP_DIR") or str(
        user_folder("state", setting="NANOEVAL_BACKUP_DIR") / "backups"
    )


def private_folder(folder: Path, *, setting: str) -> Path:
    """Create `folder` for its owner alone, or check that an existing one is ours and writable.

    Raises:
        ConfigError: it cannot be created or written; names the setting that chooses another.
        StateError: another user owns it.
    """
    try:
        _make_private(folder)
        check_owner(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise ConfigError(
            f"cannot write to folder {str(folder)!r} ({error.strerror}): make it writable, or set "
            f"{setting} to a folder that is"
        ) from error
    return folder


def _make_private(folder: Path) -> None:
    """Create a folder and those above it that are missing, each 0700 whatever the umask."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another run makes it at the same time
            one.mkdir(mode=0o700)
            one.chmod(0o700)


def open_private(path: Path) -> int:
    """Open a file for reading and writing, created 0600 whatever the umask; return its number."""
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.fchmod(number, 0o600)
    return number


def create_private(path: Path) -> None:
    """Create an empty file that only its owner can read, unless it exists."""
    os.close(open_private(path))


def check_owner(path: Path) -> None:
    """Raise `StateError` unless the current user owns `path`: what is in it gets unpickled."""
    info = path.stat()
    if info.st_uid != os.getuid():
        raise StateError(
            f"{str(path)!r} belongs to user {info.st_uid}, not to you (user {os.getuid()}): "
            "state files hold pickles, and are only read by the user who wrote them"
        )
    if path.is_file() and info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StateError(
            f"state file {str(path)!r} can be written by others (mode {info.st_mode & 0o777:o}), "
            "so it is not safe to unpickle: if you trust it, `chmod 600` it"
        )


def state_file(run_set_id: str) -> Path:
    return state_dir() / f"{run_set_id}{SUFFIX}"


def state_paths(folder: Path | None = None) -> list[Path]:
    """Return the state files in `folder`, by default that of this user's runs; newest first."""
    found = (state_dir() if folder is None else folder).glob(f"*{SUFFIX}")
    return sorted((path for path in found if path.is_file()), key=lambda p: -p.stat().st_mtime)


def shared_dir(database: Path) -> Path:
    """Return the folder next to a state file where solvers of all its executors meet."""
    folder = database.with_suffix(".shared")
    _make_private(folder)
    return folder


def files_of(path: Path) -> list[Path]:
    """Return the state file at `path` and what lies by it for the same run set."""
    named = [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm")]
    others = (".lock", ".turn", ".shared", RESTORING, UPLOADING)
    named += [path.with_suffix(suffix) for suffix in others]
    return [file for file in [path, *named] if file.exists()]


def remove_files_of(path: Path) -> None:
    for file in files_of(path):
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)


def on_memory_file_system(path: Path) -> bool:
    """Return whether `path` is in a tmpfs, where syncing to disk would mean nothing."""
    return str(path.resolve()).startswith("/dev/shm/")
