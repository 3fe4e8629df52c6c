"""Running a script as a user does: in a process of its own, with folders of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """This process's environment, without keys, and with nanoeval's folders in `folder`."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OPENAI_", "NANOEVAL_", "PYTEST_", "XDG_"))
    }
    env["HOME"] = str(folder / "home")
    env["NANOEVAL_STATE_DIR"] = str(folder / "state")
    env["NANOEVAL_LOG_DIR"] = str(folder / "records")
    env["NANOEVAL_BACKUP_DIR"] = str(folder / "backups")
    env["PYTHONWARNINGS"] = "default"
    return env | more


def run_python(
    *arguments: str | Path, folder: Path, cwd: Path = ROOT, **more: str
) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS…` to its end, however it ends; `more` joins its environment."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=environment(folder, **more),
        cwd=cwd,
        timeout=120,
    )
