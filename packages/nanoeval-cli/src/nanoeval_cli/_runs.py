"""All runs there are to see: those with a state file, and those of which the record is left."""

from __future__ import annotations

import dataclasses
import datetime
import heapq
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
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
        return sorted({one.host for one in self.executors})

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values, for `--json`."""
        score, apart = self.score, ("state_file", "row")
        return {
            **{name: value for name, value in vars(self).items() if name not in apart},
            "created_at": datetime.datetime.fromtimestamp(self.created_at, datetime.UTC),
            "hosts": self.hosts,
            "record": str(self.record) if self.record else None,
            "state_file": str(self.state_file.path) if self.state_file else None,
            "score": score._asdict() if score else None,
        }


Found = tuple[str, float, Callable[[], RunInfo]]
"""A run's id, when it was created, and what reads the rest."""


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
    records = list(_record_files())
    named = {_run_id_in(path): path for _, _, path in records}
    files = sorted([*records, *_state_files()])  # the newest last
    found: list[tuple[float, int, Callable[[], RunInfo]]] = []  # a heap of what is not yet yielded
    seen: set[str] = set()
    text = naming.lower()
    if not (text.isascii() and text.isprintable()) or set('"\\/') & set(text):
        text = ""  # JSON may have it in other characters
    while files or found:
        if found and (not files or -found[0][0] >= files[-1][0]):
            yield heapq.heappop(found)[2]()
            continue
        _, is_state, path = files.pop()
        runs: list[Found] = []
        if is_state:
            runs = _in_state_file(Path(path), named, text, problems)
        elif _run_id_in(path) not in seen and _may_name(path, text):
            runs = _in_record(path)
        for run_id, created_at, make in runs:
            if run_id not in seen:
                seen.add(run_id)
                heapq.heappush(found, (-created_at, len(seen), make))


File = tuple[float, bool, str]
"""A time before which the runs of a file were created, whether it is a state file, its path.

The path is text: of ten thousand, few are looked into.
"""


def _state_files() -> Iterator[File]:
    entries = {entry.name: entry for entry in os.scandir(state_dir())}
    for name, entry in entries.items():
        if name.endswith(SUFFIX):
            wal = entries.get(f"{name}-wal")
            # Reading makes an empty one: that is nothing written.
            written = [entry, wal] if wal is not None and wal.stat().st_size else [entry]
            # A second more, as for records: what the state says of a run comes first.
            yield max(one.stat().st_mtime for one in written) + 1.0, True, entry.path


def _record_files() -> Iterator[File]:
    for folder, _, found in os.walk(records_folder()):
        names = set(found)
        for name in found:
            if name.endswith(SUFFIXES) and not _is_later_part(name, names):
                path = f"{folder}/{name}"
                yield _time_in(name) or os.lstat(path).st_mtime, False, path


def records_by_run_id() -> dict[str, str]:
    """Return the records by the run ids that they are named for."""
    return {_run_id_in(path): path for _, _, path in _record_files()}


def _run_id_in(path: str) -> str:
    return path.rpartition("/")[2].partition("_")[0]


def _may_name(path: str, text: str) -> bool:
    """Return whether the first line of a record may hold `text`, which is in lower case."""
    name = path.rpartition("/")[2].lower()
    if not text or name.endswith((".zst", ".gz")) or text in name:
        return True
    try:
        with os.fdopen(os.open(path, os.O_RDONLY), "rb", 0) as file:
            line, end, _ = file.read(FIRST_LINE).partition(b"\n")
    except OSError:  # reading it says what is wrong
        return True
    return not end or text.encode() in line.lower()


def _is_later_part(name: str, names: set[str]) -> bool:
    """Return whether a file goes on with a rotated record: `x.0001.jsonl` with `x.jsonl`."""
    stem, number, suffix = [*name.split(".", 2), "", ""][:3]
    return number.isdecimal() and len(number) >= 4 and f"{stem}.{suffix}" in names


def _time_in(name: str) -> float | None:
    """Return the end of the second in which a run began, by the run id in its record's name."""
    try:
        return datetime.datetime.fromisoformat(f"20{name[:6]}T{name[6:12]}Z").timestamp() + 1.0
    except ValueError:
        return None


def _in_state_file(
    path: Path,
    named: Mapping[str, str],
    naming: str = "",
    problems: list[StateError] | None = None,
) -> list[Found]:
    """Return the runs in a state file; `named` are records by the run ids in their names."""
    try:
        file = read_state_file(path)
    except StateError as error:
        if problems is not None:
            problems.append(error)
        return []
    except FileNotFoundError:  # cleaned up meanwhile
        return []
    return [
        (row.run_id, row.created_at, partial(_of_row, file, row, record))
        for row in file.evals
        # Without events its position says nothing of a record.
        for record in [record_of(row) or named.get(row.run_id)]
        if naming in f"{row.run_id} {path.stem} {row.name} {row.model_name} {row.arguments}".lower()
        or (record is not None and _may_name(str(record), naming))
    ]


def _in_record(path: str) -> list[Found]:
    outline = _outline(Path(path))
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
    outline = None if record is None else _outline(Path(record))
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
        found = _newest(runs_newest_first(), recorded)
    else:
        found = _by_file_name(str(name)) or _by_reading(str(name), recorded)
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"several runs begin with {name!r}. They are:{_listed(found)}")
    newest = list(itertools.islice(runs_newest_first(), RUNS_LISTED))
    if newest:
        raise ConfigError(f"there is no run {name!r}. The newest:{_listed(newest)}")
    raise ConfigError(
        f"no run is known: no state file, and no record in {records_folder()}. Run an eval "
        "first, set NANOEVAL_LOG_DIR to where its records are, or name a record's path"
    )


def _newest(runs: Iterator[RunInfo], recorded: bool) -> list[RunInfo]:
    """Return the first of `runs`, if any; with `recorded` the first that has a record, if any."""
    first = next(runs, None)
    if recorded and first is not None and first.record is None:
        first = next((run for run in runs if run.record is not None), first)
    return [] if first is None else [first]


def _by_file_name(name: str) -> list[RunInfo]:
    """Return the runs that files are named for: run set `name`, or ids that begin like that."""
    if in_set := _in_state_of(name):
        return [max(in_set, key=lambda found: found[1])[2]()]
    paths = sorted(path for _, _, path in _record_files())
    begin = [path for path in paths if path.rpartition("/")[2].startswith(name)]
    exact = [path for path in begin if _run_id_in(path) == name]
    outlines = [_outline(Path(path)) for path in (exact or begin)[:RUNS_LISTED]]
    return [_with_state(_of_record(outline)) for outline in outlines if outline is not None]


def _in_state_of(run_set_id: str) -> list[Found]:
    try:
        check_run_set_id(run_set_id)
    except ConfigError:  # no run set is named like that
        return []
    path = state_file(run_set_id)
    return _in_state_file(path, records_by_run_id()) if path.exists() else []


def _with_state(run: RunInfo) -> RunInfo:
    """Return a run with what its state file says of it, where that is still there."""
    of_set = _in_state_of(run.run_set_id)
    return next((make() for run_id, _, make in of_set if run_id == run.run_id), run)


def _by_reading(name: str, recorded: bool) -> list[RunInfo]:
    """Return the newest run of the eval or model `name`, or those whose ids begin like that."""
    begins = []

    def named() -> Iterator[RunInfo]:
        for run in runs_newest_first(naming=name):
            if name in (run.run_id, run.run_set_id, run.eval, run.model):
                yield run
            elif run.run_id.startswith(name):
                begins.append(run)

    return _newest(named(), recorded) or begins


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
