"""All runs there are to see: those with a state file, and those of which the record is left."""

from __future__ import annotations

import calendar
import contextlib
import dataclasses
import datetime
import functools
import heapq
import itertools
import math
import os
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nanoeval_core.errors import ConfigError, RecorderError, StateError
from nanoeval_core.metrics.headline import Headline, headline
from nanoeval_core.recorder_protocol import check_run_set_id
from nanoeval_core.run_facts import RunFacts
from nanoeval_recorder.folder import records_folder
from nanoeval_recorder.reading.outline import Outline, outline_of
from nanoeval_recorder.reading.reader import SUFFIXES
from nanoeval_runner.state_files import (
    SUFFIX,
    EvalRow,
    ExecutorRow,
    StateFile,
    read_state_file,
    record_of,
    state_dir,
    state_file,
)

RUNS_LISTED = 8
FIRST_LINE = 1 << 14
"""Bytes within which the first line of a record ends, where it is to be searched."""


@dataclasses.dataclass(kw_only=True)
class RunInfo(RunFacts):
    """One run of one eval, and where that is known from.

    Attributes:
        record: where its record is.
        state_file: its run set, while that has state.
        row: its eval in that.
    """

    record: Path | None = None
    state_file: StateFile | None = None
    row: EvalRow | None = None

    @property
    def score(self) -> Headline | None:
        return headline(self.summary) if self.done != 0 else None  # of nothing, it is no score

    @property
    def executors(self) -> list[ExecutorRow]:
        """Those that could run its tasks, while its run set has state."""
        if self.state_file is None or self.row is None:
            return []
        return [one for one in self.state_file.executors if one.pool == self.row.pool]

    @property
    def hosts(self) -> list[str]:
        """Where they ran."""
        return sorted({one.host for one in self.executors})

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values, for `--json`."""
        found = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("state_file", "row")
        }
        score = self.score
        return {
            **found,
            "created_at": datetime.datetime.fromtimestamp(self.created_at, datetime.UTC),
            "hosts": self.hosts,
            "record": str(self.record) if self.record else None,
            "state_file": str(self.state_file.path) if self.state_file else None,
            "score": score._asdict() if score else None,
        }


def all_runs(newest: int | None = None) -> tuple[list[RunInfo], list[StateError]]:
    """Return the newest runs (by default all) and what is wrong with unreadable state files."""
    problems: list[StateError] = []
    return list(itertools.islice(runs_newest_first(problems), newest)), problems


def runs_newest_first(
    problems: list[StateError] | None = None, *, naming: str = ""
) -> Iterator[RunInfo]:
    """Yield every run, newest first, reading state files and records as they are asked for.

    Names and times of files say in which order, so the first twenty of ten thousand cost twenty.

    Args:
        problems: takes what is wrong with state files that cannot be read.
        naming: leaves out runs that surely have this text in no name (of the run, its eval,
            model or set), in whatever case: a look at their first lines costs little.
    """
    states, records = sorted(_state_files()), sorted(_record_files())  # the newest last
    named = {_run_id_in(path): path for _, path in records}
    found: list[tuple[float, int, Callable[[], RunInfo]]] = []  # a heap of what is not yet yielded
    seen: set[str] = set()
    number = itertools.count()
    text = naming.lower()
    while states or records or found:
        state_bound = states[-1][0] if states else -math.inf
        record_bound = records[-1][0] if records else -math.inf
        if found and -found[0][0] >= max(state_bound, record_bound):
            yield heapq.heappop(found)[2]()
            continue
        if state_bound >= record_bound:
            path = states.pop()[1]
            runs = _in_state_file(path, [] if problems is None else problems, named, text)
        else:
            record = records.pop()[1]
            runs = _in_record(record, seen) if _may_name(record, text) else []
        for run_id, created_at, make in runs:
            if run_id not in seen:
                seen.add(run_id)
                heapq.heappush(found, (-created_at, next(number), make))


def _state_files() -> Iterator[tuple[float, Path]]:
    """Yield the state files, each with a time before which its runs were created."""
    entries = {entry.name: entry for entry in os.scandir(state_dir())}
    for name, entry in entries.items():
        if name.endswith(SUFFIX):
            wal = entries.get(f"{name}-wal")
            # Reading makes an empty one: that is nothing written.
            written = [entry, wal] if wal is not None and wal.stat().st_size else [entry]
            # A second more, as for records: what the state says of a run comes first.
            yield max(one.stat().st_mtime for one in written) + 1.0, Path(entry.path)


def _record_files() -> Iterator[tuple[float, str]]:
    """Yield the paths of what may be records, each with a time before which its run was created.

    As text: of ten thousand, few are looked into.
    """
    waiting = [str(records_folder())]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:  # none yet, or gone
            continue
        names = {entry.name for entry in entries}
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif entry.name.endswith(SUFFIXES) and not _is_later_part(entry.name, names):
                bound = _time_in(entry.name) or entry.stat(follow_symlinks=False).st_mtime
                yield bound, entry.path


def records_by_run_id() -> dict[str, str]:
    """Return the records by the run ids that they are named for."""
    return {_run_id_in(path): path for _, path in _record_files()}


def _run_id_in(path: str) -> str:
    return path.rpartition("/")[2].partition("_")[0]


def _may_name(path: str, text: str) -> bool:
    """Return whether the first line of a record may hold `text`, which is in lower case."""
    name = path.rpartition("/")[2].lower()
    if not text or not _is_plain(text) or name.endswith((".zst", ".gz")) or text in name:
        return True
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:  # reading it says what is wrong
        return True
    try:
        line, end, _ = os.read(file, FIRST_LINE).partition(b"\n")
    finally:
        os.close(file)
    return not end or text.encode() in line.lower()


def _is_plain(text: str) -> bool:
    """Return whether JSON has `text` as it is."""
    return text.isascii() and text.isprintable() and not set('"\\/') & set(text)


def _is_later_part(name: str, names: set[str]) -> bool:
    """Return whether a file goes on with a rotated record: `x.0001.jsonl` with `x.jsonl`."""
    stem, number, suffix = [*name.split(".", 2), "", ""][:3]
    return number.isdecimal() and len(number) >= 4 and f"{stem}.{suffix}" in names


def _time_in(name: str) -> float | None:
    """Return the end of the second in which a run began, by the run id in its record's name."""
    if not (name[:12].isascii() and name[:12].isdecimal()):
        return None
    year, month, day, hour, minute, second = (int(name[at : at + 2]) for at in range(0, 12, 2))
    try:
        midnight = _midnight(2000 + year, month, day)
    except ValueError:  # there is no such day
        return None
    return midnight + 3600 * hour + 60 * minute + second + 1.0


@functools.cache
def _midnight(*day: int) -> int:
    return calendar.timegm((*day, 0, 0, 0))


Found = tuple[str, float, Callable[[], RunInfo]]
"""A run's id, when it was created, and what reads the rest."""


def _in_state_file(
    path: Path,
    problems: list[StateError],
    named: Mapping[str, str] | None = None,
    naming: str = "",
) -> list[Found]:
    """Return the runs in a state file; `named` are records by the run ids in their names."""
    try:
        file = read_state_file(path)
    except StateError as error:
        problems.append(error)
        return []
    except FileNotFoundError:  # cleaned up meanwhile
        return []
    if named is None:
        named = records_by_run_id()
    return [
        (row.run_id, row.created_at, partial(_of_row, file, row, record))
        for row in file.evals
        # Without events its position says nothing of a record.
        for record in [record_of(row) or named.get(row.run_id)]
        if naming in f"{row.run_id} {path.stem} {row.name} {row.model_name} {row.arguments}".lower()
        or not _is_plain(naming)
        or (record is not None and _may_name(str(record), naming))
    ]


def _in_record(path: str, seen: Container[str]) -> list[Found]:
    outline = None if _run_id_in(path) in seen else _outline(Path(path))
    if outline is None:
        return []
    run = _of_record(outline)
    return [(run.run_id, run.created_at, lambda: run)]


def _outline(path: Path) -> Outline | None:
    try:
        return outline_of(path)
    except (OSError, RecorderError):  # gone since, or damaged
        return None


def _of_row(file: StateFile, row: EvalRow, record: str | Path | None) -> RunInfo:
    outline = _outline(Path(record)) if record is not None and os.path.exists(record) else None
    run = RunInfo(run_id=row.run_id) if outline is None else _of_record(outline)
    run.summary = {}  # the state file's, or none
    run.update(file.facts_of(row))
    run.state_file, run.row = file, row
    return run


def _of_record(outline: Outline) -> RunInfo:
    return RunInfo(**vars(outline.facts()), record=outline.path)


def find_run(name: str | None, *, recorded: bool = False) -> RunInfo:
    """Return the run that a person means by an id or its beginning, run set, record, eval or model.

    None, like `last`, is the newest; of a run set, an eval or a model the newest run counts.

    Args:
        name: what was typed.
        recorded: of several, the newest that has a record is meant: the test of an eval has none.

    Raises:
        ConfigError: no run id, or several, begin like that.
    """
    if name is not None and ("/" in name or name.endswith((".jsonl", ".zst", ".gz"))):
        return _run_at(Path(name).expanduser())
    if name in (None, "last"):
        newest = _first(runs_newest_first(), recorded)
        if newest is None:
            raise _no_runs()
        return newest
    name = str(name)
    found = _by_file_name(name) or _by_reading(name, recorded)
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"several runs begin with {name!r}. They are:{_listed(found)}")
    newest_runs, _ = all_runs(RUNS_LISTED)
    if not newest_runs:
        raise _no_runs()
    raise ConfigError(f"there is no run {name!r}. The newest:{_listed(newest_runs)}")


def _first(runs: Iterator[RunInfo], recorded: bool) -> RunInfo | None:
    """Return the first of `runs`; with `recorded` the first that has a record, if any has."""
    first = next(runs, None)
    if first is None or first.record is not None or not recorded:
        return first
    return next((run for run in runs if run.record is not None), first)


def _by_reading(name: str, recorded: bool) -> list[RunInfo]:
    """Return the newest run of the eval or model `name`, or those whose ids begin like that."""
    begins = []

    def named() -> Iterator[RunInfo]:
        for run in runs_newest_first(naming=name):
            if name in (run.run_id, run.run_set_id, run.eval, run.model):
                yield run
            elif run.run_id.startswith(name):
                begins.append(run)

    found = _first(named(), recorded)
    return begins if found is None else [found]


def _by_file_name(name: str) -> list[RunInfo]:
    """Return the runs that files are named for: run set `name`, or ids that begin like that."""
    with contextlib.suppress(ConfigError):
        check_run_set_id(name)
        path = state_file(name)
        if path.exists():
            runs = sorted(_in_state_file(path, []), key=lambda found: -found[1])
            return [make() for _, _, make in runs[:1]]
    begin = [path for _, path in _record_files() if path.rpartition("/")[2].startswith(name)]
    exact = [path for path in begin if _run_id_in(path) == name]
    outlines = [_outline(Path(path)) for path in (exact or begin)[:RUNS_LISTED]]
    return [_with_state(outline) for outline in outlines if outline is not None]


def _with_state(outline: Outline) -> RunInfo:
    """Return a run with what its state file says of it, where that is still there."""
    run = _of_record(outline)
    path = state_file(run.run_set_id) if run.run_set_id else None
    if path is not None and path.exists():
        runs = _in_state_file(path, [])
        same = (make() for run_id, _, make in runs if run_id == run.run_id)
        return next(same, run)
    return run


def _no_runs() -> ConfigError:
    return ConfigError(
        f"no run is known: no state file, and no record in {records_folder()}. Run an eval "
        "first, set NANOEVAL_LOG_DIR to where its records are, or name a record's path"
    )


def _listed(runs: Sequence[RunInfo]) -> str:
    return "".join(f"\n  {run.run_id}  {run.eval}  {run.model}" for run in runs[:RUNS_LISTED])


def _run_at(path: Path) -> RunInfo:
    if not path.is_file():
        raise ConfigError(f"there is no record at {path}: name a run (nanoeval ls) or its file")
    outline = outline_of(path)
    if outline is None:
        raise ConfigError(f"{path} is no record: it does not begin with a line that names a run")
    return _of_record(outline)


def record_path(run: RunInfo) -> Path:
    """Return where the record of `run` is.

    Raises:
        ConfigError: it has none any more, or never had.
    """
    if run.record is None or not run.record.exists():
        raise ConfigError(
            f"run {run.run_id} has no record here: it was run with another recorder, or its file "
            f"was moved. Records are looked for in {records_folder()}; name a file to read that"
        )
    return run.record
