"""Which run set a command is about."""

from __future__ import annotations

from pathlib import Path

from nanoeval_core.errors import ConfigError
from nanoeval_core.recorder_protocol import check_run_set_id
from nanoeval_runner.state_files import state_dir, state_file, state_paths


def find_state_file(run_set_id: str | None) -> Path:
    """Return the state file of `run_set_id`, or the newest there is.

    Raises:
        ConfigError: no such state file; names those that are there.
    """
    known = state_paths()
    if run_set_id is None:
        if known:
            return known[0]
        raise ConfigError(f"no eval was run yet: there is no state file in {state_dir()}")
    check_run_set_id(run_set_id)
    path = state_file(run_set_id)
    if not path.exists():
        names = ", ".join(file.stem for file in known[:5]) or "none"
        raise ConfigError(f"there is no run set {run_set_id!r} in {state_dir()}; newest: {names}")
    return path
