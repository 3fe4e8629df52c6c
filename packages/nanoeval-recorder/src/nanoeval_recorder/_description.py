"""What was run: all that the first line of a record says."""

from __future__ import annotations

import asyncio
import functools
import getpass
import os
import platform
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chz
import msgspec
from nanoeval_core.recorder_protocol import BasicRunSpec, measured_model
from nanoeval_core.redaction import Redactor

from nanoeval_recorder._file_recorder import encode

if TYPE_CHECKING:
    from nanoeval_core.spec import EvalSpec

GIT_TIMEOUT = 10.0  # seconds; a repository that is slower is described without its state
GIT_FRESH = 10.0  # seconds that a look at a repository is good for


async def describe_run(spec: EvalSpec, run_spec: BasicRunSpec, num_tasks: int) -> dict[str, Any]:
    """Return everything about a run that its record begins with, JSON-like and without secrets."""
    git = await asyncio.to_thread(recent_git_state, type(spec.eval))
    name = run_spec.eval_name or spec.eval.get_name()
    parts = [*name.split("."), "", ""]
    model = run_spec.model_name or spec.runner.model_name
    model = model or measured_model(chz.beta_to_blueprint_values(spec.eval)) or "unknown"
    description = {
        "completion_fns": [model],
        "eval_name": name,
        "base_eval": parts[0],
        "split": parts[1] or "default",
        "run_config": {
            "completion_fns": [model],
            "eval_spec": {
                "cls": f"{type(spec.eval).__module__}:{type(spec.eval).__qualname__}",
                "args": chz.beta_to_blueprint_values(spec.eval, skip_defaults=True),
                "key": name,
                "group": spec.runner.eval_set_name,
            },
            "runner": {
                "cls": f"{type(spec.runner).__module__}:{type(spec.runner).__qualname__}",
                "args": chz.beta_to_blueprint_values(spec.runner, skip_defaults=True),
            },
            "seed": spec.runner.seed,
            "max_samples": spec.runner.n_tasks,
            "num_tasks": num_tasks,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "git": git,
            "host": platform.node(),
        },
        "created_by": user_name(),
        "run_id": run_spec.run_id,
        "run_set_id": run_spec.run_set_id,
        "created_at": run_spec.created_at,
    }
    redactor = Redactor()
    redacted: dict[str, Any] = redactor.value(msgspec.json.decode(encode(description)))
    redacted["run_config"]["command"] = redactor.command(sys.argv)
    # Ours, and never altered: package names such as google-auth only look like secrets.
    redacted["run_config"]["packages"] = installed_packages()
    return {**redacted, "run_id": run_spec.run_id, "run_set_id": run_spec.run_set_id}


def recent_git_state(cls: type) -> dict[str, Any] | None:
    """Return the state of the repository that defines `cls`, else of the current folder.

    As it was at most `GIT_FRESH` seconds ago: runs often start by the dozen.
    """
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    folder = Path(file).resolve().parent if file else Path.cwd()
    with _git_lock:
        return _git_state_at(folder, int(time.monotonic() // GIT_FRESH))


_git_lock = threading.Lock()


@functools.lru_cache(maxsize=64)
def _git_state_at(folder: Path, moment: int) -> dict[str, Any] | None:
    return git_state(folder)


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return `commit` and `dirty` of the repository that holds `folder` (or the current folder).

    None when neither is in a repository or git is not there. Files that git does not track count
    as changes: an eval's code may be among them.
    """
    environ = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    for candidate in dict.fromkeys([folder, Path.cwd()]):
        try:
            done = subprocess.run(
                ["git", "-C", str(candidate), "status", "--porcelain=v2", "--branch"],
                capture_output=True,
                text=True,
                timeout=GIT_TIMEOUT,
                check=True,
                env=environ,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.SubprocessError, UnicodeError):
            continue
        commit = re.search(r"^# branch\.oid ([0-9a-f]+)$", done.stdout, re.MULTILINE)
        if commit:
            dirty = any(not line.startswith("#") for line in done.stdout.splitlines())
            return {"commit": commit[1], "dirty": dirty, "folder": str(candidate)}
    return None


@functools.cache
def installed_packages() -> dict[str, str]:
    """Return versions by distribution, of all that can be imported.

    Read from the names of the metadata folders: opening each one's metadata costs a second on
    a big installation.
    """
    found: dict[str, str] = {}
    for folder in map(Path, dict.fromkeys(sys.path)):
        if not folder.is_dir():
            continue
        for entry in os.scandir(folder):
            match = re.fullmatch(r"(.+?)-([^-]+)\.(?:dist-info|egg-info)", entry.name)
            if match:
                found.setdefault(match[1].replace("_", "-").lower(), match[2])
    return dict(sorted(found.items()))


@functools.cache
def user_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without a passwd entry
        return ""
