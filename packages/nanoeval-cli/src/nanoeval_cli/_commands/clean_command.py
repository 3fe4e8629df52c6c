"""`nanoeval clean`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nanoeval_core.errors import ConfigError, StateError
from nanoeval_runner.state_files import backups, remove_state, state_files

from nanoeval_cli._command import Parser
from nanoeval_cli._output import note, write, write_json, write_table

DAY = 86_400


@subcommand("clean")
@click.option("--unfinished", is_flag=True, help="Also what could be resumed.")
@click.option("--older-than", type=float, metavar="DAYS", default=0.0, help="Only what is that old.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@json_option
def command(
    unfinished: bool, older_than: float, yes: bool, dry_run: bool, as_json: bool
) -> int:
    """Remove the state, the backups and the logs of finished runs.

    Records are never touched, nor is anything that is being run, nor what has no other trace: the
    state of a run without a record is kept. What could still be resumed goes only with
    --unfinished.
    """
    if older_than < 0:
        raise ConfigError(f"--older-than {older_than:g}: give days, 0 or more")
    state, copies = _removable(time.time() - DAY * asked.older_than, unfinished=asked.unfinished)
    if asked.json:
        write_json({"state": [str(p) for p in state], "backups": [str(p) for p in copies]})
    elif state or copies:
        rows = [[str(p), "state", _size(p)] for p in state] + [
            [str(p), "backup", _size(p)] for p in copies
        ]
        write_table(("file", "what", "size"), rows, right=("size",))
    else:
        write("Nothing to remove.")
    if asked.dry_run or not (state or copies):
        return 0
    if not asked.yes and not _confirmed(len(state) + len(copies)):
        note("Nothing was removed.")
        return 0
    for path in state:
        remove_state(path)
    for path in copies:
        path.unlink(missing_ok=True)
    note(f"Removed {len(state)} state files and {len(copies)} backups.")
    return 0


def _removable(before: float, *, unfinished: bool) -> tuple[list[Path], list[Path]]:
    state: list[Path] = []
    kept = set()
    for found in state_files():
        if isinstance(found, StateError):
            note(f"left alone: {found}")
            continue
        finished = found.is_complete or not found.evals
        if found.is_running or found.modified_at > before or not (finished or unfinished):
            kept.add(found.run_set_id)
        else:
            state.append(found.path)
    going = {path.stem for path in state}
    copies = [
        path
        for path in backups()
        if path.stem not in kept
        and (path.stem in going or unfinished)
        and path.stat().st_mtime <= before
    ]
    return state, copies


def _confirmed(number: int) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError("nobody is there to be asked: --yes removes them, --dry-run only lists")
    return input(f"Remove these {number} files? [y/N] ").strip().lower() in ("y", "yes")


def _size(path: Path) -> str:
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
