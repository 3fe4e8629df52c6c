"""Where records are, unless a run says otherwise."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["records_folder"]


def records_folder(configured: str | None = None) -> Path:
    """`configured`, else `NANOEVAL_LOG_DIR`, else the platform's folder for a user's state."""
    chosen = configured or os.environ.get("NANOEVAL_LOG_DIR")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return base / "nanoeval" / "records"
