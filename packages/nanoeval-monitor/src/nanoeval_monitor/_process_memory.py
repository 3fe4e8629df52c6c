"""How much memory a process on this host has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def resident_bytes(pid: int) -> int | None:
    """Return resident bytes of process `pid`; None where the system does not say, or it is gone."""
    try:
        if sys.platform == "linux":
            pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE")
        command = ["ps", "-o", "rss=", "-p", str(pid)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)
        return 1024 * int(done.stdout)
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None
