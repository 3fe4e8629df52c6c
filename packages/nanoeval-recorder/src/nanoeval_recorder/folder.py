"""Where records are, unless a run says otherwise."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from nanoeval_core.errors import ConfigError

__all__ = ["records_folder"]


def records_folder(configured: str | None = None) -> Path:
    """`configured`, else `NANOEVAL_LOG_DIR`, else the platform's folder for a user's state."""
    chosen = configured or os.environ.get("NANOEVAL_LOG_DIR")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        base = _home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or _home() / ".local" / "state")
    return base / "nanoeval" / "records"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise ConfigError(
            f"user {os.getuid()} has no home folder, so there is no place for records: set "
            "NANOEVAL_LOG_DIR to a folder that can be written, or HOME"
        ) from error
