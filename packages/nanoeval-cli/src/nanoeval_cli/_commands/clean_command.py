"""`nanoeval clean`."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
from nanoeval_core.errors import ConfigError, StateError
from nanoeval_runner.run_log import log_file
from nanoeval_runner.state_files import (
    StateFile,
    backup_location,
    backups,
    leftovers,
    record_of,
    remove_backup,
    remove_state,
    state_dir,
    state_files,
)

from nanoeval_cli._command import json_option, subcommand
from nanoeval_cli._output import note, short_path, write, write_json, write_table
from nanoeval_cli._runs import records_by_run_id

DAY = 86_400
LOGS_KEPT = 30 * DAY
"""Logs are kept for a month: they tell why a run of last week was slow."""


@subcommand("clean")
@click.option("--unfinished", is_flag=True, help="Also what could be resumed.")
@click.option("--without-record", is_flag=True, help="Also runs that have no other trace.")
@click.option("--older-than", type=float, metavar="DAYS", default=0.0, help="Only what is so old.")
@click.option("--containers", is_flag=True, help="Also containers that dead runs left, or kept.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@json_option
def command(
    *,
    unfinished: bool,
    without_record: bool,
    older_than: float,
    containers: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Remove the state and the backups of finished runs, old logs, and what killed runs left.

    Records are never touched, nor is anything that is being run. What could still be resumed goes
    only with --unfinished, and a finished run without a record, which has no other trace, only
    with --without-record. Logs go after 30 days.
    """
    if older_than < 0:
        raise ConfigError(f"--older-than {older_than:g}: give days, 0 or more")
    before = time.time() - DAY * older_than
    found = list(_removable(before, unfinished=unfinished, without_record=without_record))
    left = _clean_containers(dry_run=True) if containers else []
    if as_json:
        files = [{"path": str(path), "what": what} for path, what in found]
        write_json([*files, *({"path": name, "what": "container"} for name in left)])
    elif found or left:
        rows = [[short_path(path), what, _size(path), _age(path)] for path, what in found]
        rows += [[name, "container", "", ""] for name in left]
        write_table(("name", "what", "size", "age"), rows, right=("size", "age"))
    else:
        write("Nothing to remove.")
    if dry_run or not (found or left):
        return 0
    if not yes and not _confirmed(len(found), len(left)):
        note("Nothing was removed.")
        return 0
    for path, what in found:
        if what in ("state", "backup"):
            (remove_state if what == "state" else remove_backup)(path)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    location = backup_location()
    local = [] if "://" in location else [Path(location).expanduser()]
    for folder in (state_dir(), *local, log_file("any").parent):
        with contextlib.suppress(OSError):  # something is left in it
            folder.rmdir()
    kinds = Counter(what for _, what in found)
    if left:
        kinds["container"] = len(_clean_containers(dry_run=False))
    note(f"Removed {', '.join(f'{number} × {what}' for what, number in kinds.items())}.")
    return 0


def _removable(
    before: float, *, unfinished: bool, without_record: bool
) -> Iterator[tuple[Path, str]]:
    """Yield the files and folders that would go, each with what it is."""
    going: set[str] = set()
    in_use: set[str] = set()
    resumable: list[str] = []
    bare: list[str] = []
    named = records_by_run_id()  # without events, the state says of no record
    for found in state_files():
        if isinstance(found, StateError):
            note(f"left alone: {found}")
            continue
        finished = found.is_complete or not found.evals
        if found.is_running or found.modified_at > before:
            in_use.add(found.run_set_id)
        elif not (finished or unfinished):
            resumable.append(found.run_set_id)
        elif finished and not without_record and _has_no_record(found, named):
            bare.append(found.run_set_id)
        else:
            going.add(found.run_set_id)
            yield found.path, "state"
    has = "has" if len(bare) == 1 else "have"
    _say_left_alone(resumable, "can be resumed", "--unfinished")
    _say_left_alone(bare, f"{has} no record", "--without-record")
    kept = {*in_use, *resumable, *bare}
    for path in backups():
        is_over = path.stem not in kept and path.stat().st_mtime <= before
        if is_over and (unfinished or path.stem in going):
            yield path, "backup"
    for path in sorted(log_file("any").parent.glob("*.log")):
        if path.stem not in kept and path.stat().st_mtime < min(before, time.time() - LOGS_KEPT):
            yield path, "log"
    for path in leftovers():
        yield path, "left over"


def _say_left_alone(run_sets: list[str], why: str, option: str) -> None:
    if run_sets:
        shown = ", ".join(run_sets[:3]) + (", …" if len(run_sets) > 3 else "")
        number, them = ("", "it") if len(run_sets) == 1 else (f"{len(run_sets)} run sets, ", "them")
        note(f"left alone: {number}{shown} {why} ({option} removes {them})")


def _has_no_record(file: StateFile, named: Mapping[str, str]) -> bool:
    records = [record_of(row) or named.get(row.run_id) for row in file.evals]
    return any(path is None or not Path(path).exists() for path in records)


def _clean_containers(*, dry_run: bool) -> list[str]:
    from nanoeval_computer.maintenance import clean_containers  # noqa: PLC0415  for this option

    return clean_containers(kept=True, dry_run=dry_run)


def _confirmed(files: int, containers: int) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError(
            "stdin is not a terminal to confirm at: --yes removes them, --dry-run only lists"
        )
    numbers = [f"{files} files"] * bool(files) + [f"{containers} containers"] * bool(containers)
    answer = input(f"Remove these {' and '.join(numbers)}? [y/N] ")
    return answer.strip().lower() in ("y", "yes")


def _size(path: Path) -> str:
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _age(path: Path) -> str:
    days = int((time.time() - path.stat().st_mtime) / DAY)
    return "today" if days < 1 else f"{days} day{'s' * (days > 1)}"
