"""All runs there are to see: those with a state file, and those of which the record is left."""

from __future__ import annotations

import dataclasses
import datetime
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nanoeval_core.errors import ConfigError, StateError
from nanoeval_core.metrics.headline import Headline, headline
from nanoeval_recorder.folder import records_folder
from nanoeval_recorder.reading.outline import Outline, outline_of, outlines
from nanoeval_runner.arguments import model_in
from nanoeval_runner.state_files import EvalRow, ExecutorRow, StateFile, record_of, state_files


@dataclasses.dataclass(slots=True)
class RunInfo:
    """One run of one eval, as far as it is known.

    Attributes:
        state: `running`, `done`, `failed`, `stopped` or `died`; `unfinished` for a record without
            an end whose state file is gone.
        created_at: seconds since the epoch.
        seconds: how long it ran; None where that is not known.
        summary: its summary; a partial one while it runs; empty without one.
        record: where its record is.
        state_file: its run set, while that has state.
    """

    run_id: str
    run_set_id: str
    eval: str
    model: str
    state: str
    created_at: float
    seconds: float | None = None
    done: int | None = None
    total: int | None = None
    errors: int = 0
    retries: int = 0
    tokens: int = 0
    cost: float = 0.0
    summary: dict[str, Any] = dataclasses.field(default_factory=dict)
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
        """JSON values, for `--json`."""
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
    """Every run, newest first, and what is wrong with state files that cannot be read."""
    problems: list[StateError] = []
    runs: dict[str, RunInfo] = {}
    for found in state_files():
        if isinstance(found, StateError):
            problems.append(found)
        else:
            runs |= {run.run_id: run for run in _of_state_file(found)}
    folder = records_folder()
    for outline in outlines(folder) if folder.is_dir() else []:
        run = runs.get(outline.run_id)
        if run is None:
            runs[outline.run_id] = _of_record(outline)
        else:
            _add_record(run, outline)
    return sorted(runs.values(), key=lambda run: -run.created_at), problems


def _of_state_file(file: StateFile) -> Iterator[RunInfo]:
    for row in file.evals:
        state = file.state_of(row)
        seconds = row.elapsed
        if state == "running":  # the file has it from the first second on
            seconds = seconds or time.time() - max(row.created_at, _started(file))
        elif not seconds:
            seconds = max(0.0, file.modified_at - row.created_at)
        summary = json.loads(row.summary) if row.summary else {}
        record = record_of(row)
        yield RunInfo(
            run_id=row.run_id,
            run_set_id=file.run_set_id,
            eval=row.name,
            model=row.model_name or model_in(row.arguments) or "",
            state=state,
            created_at=row.created_at,
            seconds=seconds,
            done=row.done + row.failed,
            # A retried task has a row for each attempt; `total` counts it once.
            total=row.total,
            errors=row.failed,
            retries=row.retries,
            tokens=row.usage.total_tokens,
            cost=row.cost,
            summary=summary,
            record=record if record is not None and record.exists() else None,
            state_file=file,
            row=row,
        )


def _started(file: StateFile) -> float:
    return max((executor.started_at for executor in file.executors), default=0.0)


def _add_record(run: RunInfo, outline: Outline) -> None:
    run.record = run.record or outline.path
    model = outline.started.model
    if not run.model and model and model != "unknown":
        run.model = model


def _of_record(outline: Outline) -> RunInfo:
    started, report = outline.started, outline.final_report or {}
    created = _timestamp(started.created_at) or outline.modified_at
    config = started.spec.get("run_config")
    total = config.get("num_tasks") if isinstance(config, dict) else None
    usage = report.get("usage") if isinstance(report.get("usage"), dict) else {}
    errors = report.get("system_errors")
    return RunInfo(
        run_id=outline.run_id,
        run_set_id=started.run_set_id or "",
        eval=started.eval_name or outline.path.stem,
        model=(started.model or "").replace("unknown", ""),
        state="done" if outline.final_report is not None else "died",
        created_at=created,
        seconds=max(0.0, outline.modified_at - created),
        done=total if outline.final_report is not None else None,
        total=total if isinstance(total, int) else None,
        errors=errors.get("total", 0) if isinstance(errors, dict) else 0,
        tokens=usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0) if usage else 0,
        cost=usage.get("cost", 0.0) if usage else 0.0,
        summary=report,
        record=outline.path,
    )


def _timestamp(text: str | None) -> float | None:
    try:
        return datetime.datetime.fromisoformat(text or "").timestamp()
    except ValueError:
        return None


def find_run(name: str | None) -> RunInfo:
    """The run that a person means: by run id or its beginning, run set, record file or eval.

    None, like `last`, is the newest; of a run set or an eval the newest run counts.

    Raises:
        ConfigError: there is none, or several run ids begin like that.
    """
    if name is not None and ("/" in name or name.endswith((".jsonl", ".zst", ".gz"))):
        return _run_at(Path(name).expanduser())
    runs, _ = all_runs()
    if not runs:
        raise ConfigError(
            f"no run is known: no state file, and no record in {records_folder()}. Run an eval "
            "first, set NANOEVAL_LOG_DIR to where its records are, or name a record's path"
        )
    if name in (None, "last"):
        return runs[0]
    for field in ("run_id", "run_set_id", "eval"):
        for run in runs:
            if getattr(run, field) == name:
                return run
    begins = [run for run in runs if run.run_id.startswith(str(name))]
    if len(begins) == 1:
        return begins[0]
    shown = begins or runs
    listed = "".join(f"\n  {run.run_id}  {run.eval}  {run.model}" for run in shown[:8])
    what = "several runs begin with" if begins else "there is no run"
    raise ConfigError(f"{what} {name!r}. {'They are' if begins else 'The newest'}:{listed}")


def _run_at(path: Path) -> RunInfo:
    if not path.is_file():
        raise ConfigError(f"there is no record at {path}: name a run (nanoeval ls) or its file")
    outline = outline_of(path)
    if outline is None:
        raise ConfigError(f"{path} is no record: it does not begin with a line that names a run")
    return _of_record(outline)


def record_path(run: RunInfo) -> Path:
    """Where the record of `run` is.

    Raises:
        ConfigError: it has none any more, or never had.
    """
    if run.record is None or not run.record.exists():
        raise ConfigError(
            f"run {run.run_id} has no record here: it was run with another recorder, or its file "
            f"was moved. Records are looked for in {records_folder()}; name a file to read that"
        )
    return run.record
