"""The published interface of recorders: what evals and recorders of others are written for."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chz
import pytest
from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.json_recorder import JsonRecorder, JsonRecorderConfig, json_recorder
from nanoeval.library_config import LibraryConfig, get_library_config, set_library_config
from nanoeval.recorder import (
    RecorderConfig,
    RecorderProtocol,
    dummy_recorder,
    get_recorder,
    recorder,
    set_default_recorder,
)
from nanoeval.recorder_protocol import BasicRunSpec, uuid

from tests.support.recorded_eval import RecordedEval, make_spec

ROOT = Path(__file__).parent.parent.parent
BASE = ["timestamp", "record_type", "sample_id", "group_id"]
POOLS: list[dict[str, Any]] = [{}, {"experimental_use_multiprocessing": True, "num_processes": 2}]
in_process_and_pooled = pytest.mark.parametrize("pool", POOLS, ids=["in_process", "pooled"])
pytestmark = [
    pytest.mark.usefixtures("folders"),
    pytest.mark.timeout(120),
]


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@dataclasses.dataclass
class Notes:
    """A recorder of somebody who knows only the protocol; each call is a line of a file."""

    run_spec: BasicRunSpec
    path: Path
    sample_id: str | None = None
    group_id: str | None = None

    def note(self, method: str, *args: Any, **kwargs: Any) -> None:
        line = [method, self.current_sample_id(), self.current_group_id(), args, kwargs]
        with self.path.open("a") as file:
            file.write(json.dumps(line, default=str) + "\n")

    def __enter__(self) -> Notes:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def current_sample_id(self) -> str | None:
        return self.sample_id

    def current_group_id(self) -> str | None:
        return self.group_id

    @contextlib.contextmanager
    def as_default_recorder(self, sample_id: str, group_id: str, **extra: Any) -> Iterator[None]:
        before = self.sample_id, self.group_id
        self.sample_id, self.group_id = sample_id, group_id
        try:
            yield
        finally:
            self.sample_id, self.group_id = before

    def record_match(self, correct: bool, **extra: Any) -> None:
        self.note("match", correct, **extra)

    def record_sampling(self, prompt: Any, sampled: Any, **extra: Any) -> None:
        self.note("sampling", prompt, sampled, **extra)

    def record_sample_completed(self, **extra: Any) -> None:
        self.note("sample_completed", **extra)

    def record_error(self, msg: str, error: Exception | None, **kwargs: Any) -> None:
        self.note("error", msg, error, **kwargs)

    def record_extra(self, data: Any) -> None:
        self.note("extra", data)

    def record_final_report(self, final_report: Any) -> None:
        self.note("final_report", final_report)

    def evalboard_url(self, view: str) -> str | None:
        return None


@chz.chz
class NotesConfig(RecorderConfig):
    path: Path

    async def factory(self, spec: EvalSpec, num_tasks: int) -> RecorderProtocol:
        return Notes(self._make_default_run_spec(spec), self.path)  # type: ignore[return-value]


@in_process_and_pooled
def test_a_recorder_made_from_the_protocol_alone_gets_each_attempt_under_its_ids(
    pool: dict[str, Any], folders: Path
) -> None:
    notes = folders / "notes.jsonl"
    summary = asyncio.run(run(make_spec(NotesConfig(path=notes), runner=pool, n=6)))
    calls = [json.loads(line) for line in notes.read_text().splitlines()]
    matches = [call for call in calls if call[0] == "match"]
    assert {(sample, group) for _, sample, group, _, _ in matches} == {
        (f"q{i}", "1.0") for i in range(6)
    }
    assert len(matches) == 12
    samplings = [call for call in calls if call[0] == "sampling"]
    assert sorted(call[3][0] for call in samplings) == [f"q{i}.1" for i in range(6)]
    assert calls[-1][0] == "final_report"
    assert calls[-1][3][0]["accuracy"] == summary["accuracy"]


def test_one_that_binds_no_ids_still_gets_its_events(
    folders: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Unbound(Notes):
        def as_default_recorder(self, *ids: str, **extra: Any) -> Any:
            raise NotImplementedError

    @chz.chz
    class UnboundConfig(RecorderConfig):
        async def factory(self, spec: EvalSpec, num_tasks: int) -> Any:
            return Unbound(self._make_default_run_spec(spec), folders / "notes.jsonl")

    with caplog.at_level(logging.ERROR):
        asyncio.run(run(make_spec(UnboundConfig(), n=2)))
    calls = [json.loads(line) for line in (folders / "notes.jsonl").read_text().splitlines()]
    assert [call[0] for call in calls].count("match") == 4
    assert caplog.text.count("failed in as_default_recorder: NotImplementedError") == 1


@in_process_and_pooled
def test_the_json_recorder_writes_the_published_lines(pool: dict[str, Any], folders: Path) -> None:
    config = json_recorder()
    assert isinstance(config, JsonRecorderConfig)
    summary = asyncio.run(run(make_spec(config, runner=pool, n=3)))
    (path,) = (folders / "records").iterdir()
    assert path == config.filename
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_T_\d\d-\d\d-\d\d_UTC\.jsonl", path.name)
    started, *events, last = lines_of(path)
    assert all(list(line)[:4] == BASE for line in (started, *events, last))
    assert started["record_type"] == "run_started"
    assert started["run_spec"]["run_id"] == summary["run_id"]
    matches = [line for line in events if line["record_type"] == "match"]
    assert {line["sample_id"] for line in matches} == {"q0", "q1", "q2"}
    assert {line["group_id"] for line in matches} == {"1.0"}
    for line in matches:
        assert list(line)[4:8] == ["correct", "expected", "picked", "prob_correct"]
    completed = [line for line in events if line["record_type"] == "sample_completed"]
    assert [line["status"] for line in completed] == ["completed"] * 3
    assert (list(last)[4:], last["record_type"]) == (["final_report"], "final_report")
    assert "run_id" not in last["final_report"]


def test_runs_one_after_the_other_share_a_file_and_two_at_once_do_not(folders: Path) -> None:
    path = folders / "mine.jsonl"
    config = JsonRecorderConfig(filename=path)
    for _ in range(2):
        asyncio.run(run(make_spec(config, n=2)))
    assert [line["record_type"] for line in lines_of(path)].count("run_started") == 2

    async def both() -> None:
        await asyncio.gather(*(run(make_spec(config, n=2)) for _ in range(2)))

    asyncio.run(both())
    found = [*lines_of(path), *lines_of(folders / "mine.2.jsonl")]
    kinds = [line["record_type"] for line in found]
    assert (kinds.count("run_started"), kinds.count("final_report")) == (4, 4)
    assert kinds.count("match") == 16


def test_a_json_recorder_made_by_hand_appends_at_once(folders: Path) -> None:
    path = folders / "by_hand.jsonl"
    made = JsonRecorder(BasicRunSpec("r", "s"), path)
    assert isinstance(made, RecorderProtocol)
    assert [line["record_type"] for line in lines_of(path)] == ["run_started"]
    assert lines_of(path)[0]["run_spec"] == {"run_id": "r", "run_set_id": "s"}
    with made:
        made.record_match(True, sample_id="x", group_id="y")
    made.record_sample_completed()
    made.record_final_report({"accuracy": 1, "partial": True})
    made.record_final_report({"accuracy": 1})
    with made.as_default_recorder("q", "2.0"):
        get_recorder().record_error("no", None)
    rest = lines_of(path)[1:]
    assert [(line["record_type"], line["sample_id"], line["group_id"]) for line in rest] == [
        ("match", "x", "y"),
        ("sample_completed", None, None),
        ("final_report", None, None),
        ("error", "q", "2.0"),
        ("final_report", None, None),
    ]
    assert rest[1]["status"] == "completed"
    bound = JsonRecorder(BasicRunSpec("r2", "s"), path, "q9", "1.0")
    assert (bound.current_sample_id(), bound.current_group_id()) == ("q9", "1.0")


def test_the_json_recorder_is_chosen_on_the_command_line(folders: Path) -> None:
    chosen = folders / "chosen.jsonl"
    subprocess.run(
        [sys.executable, "-m", "examples.gpqa_simple", "eval.solver=MockSolver",
         "runner.n_tasks=3", "runner.recorder=nanoeval.json_recorder:JsonRecorderConfig",
         f"runner.recorder.filename={chosen}"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    assert lines_of(chosen)[0]["record_type"] == "run_started"


def test_get_recorder_is_a_lookup_error_outside_and_found_in_threads() -> None:
    with pytest.raises(LookupError):
        get_recorder()
    with pytest.raises(LookupError):
        recorder.get()

    async def record() -> None:
        await asyncio.to_thread(get_recorder().record_match, correct=True)
        assert await asyncio.to_thread(get_recorder) is recorder.get()

    with dummy_recorder():
        asyncio.run(record())


def test_set_default_recorder_enters_what_the_library_config_says() -> None:
    seen: list[Any] = []

    class Team(LibraryConfig):
        @contextlib.contextmanager
        def set_recorder_context(self, rec: Any, sample_id: str, group_id: str) -> Iterator[None]:
            seen.append((rec, sample_id, group_id, get_recorder() is rec))
            yield
            seen.append("left")

    before = get_library_config()
    set_library_config(Team())
    try:
        made = Notes(BasicRunSpec("r", "s"), Path())
        with set_default_recorder(made, "q", "1.0"):  # type: ignore[arg-type]
            assert get_recorder() is made  # type: ignore[comparison-overlap]
    finally:
        set_library_config(before)
    assert seen == [(made, "q", "1.0", True), "left"]
    with pytest.raises(LookupError):
        get_recorder()


def test_run_specs_are_plain_and_ids_sort_by_time() -> None:
    spec = BasicRunSpec("r", "s")
    spec.run_id = "changed"
    assert (spec.run_id, spec.run_set_id) == ("changed", "s")
    ids = [uuid() for _ in range(100)]
    assert all(re.fullmatch(r"\d{12}[A-Z2-7]{8}", one) for one in ids)
    assert len(set(ids)) == 100


def test_a_default_run_spec_needs_a_run_or_a_run_set() -> None:
    config = JsonRecorderConfig(filename=Path("x.jsonl"))
    with pytest.raises(LookupError, match=r"RunnerArgs\.run_set_id"):
        config._make_default_run_spec(EvalSpec(eval=RecordedEval(), runner=RunnerArgs()))
    spec = EvalSpec(eval=RecordedEval(), runner=RunnerArgs(run_set_id="mine"))
    made = config._make_default_run_spec(spec)
    assert (made.run_set_id, len(made.run_id)) == ("mine", 20)


def test_the_dummy_recorder_logs_samplings_only(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "nanoeval.recorder"), dummy_recorder():
        get_recorder().record_sampling("what was asked", "what was said")
        get_recorder().record_match(True)
        get_recorder().record_extra({"a": 1})
    said = [one.getMessage() for one in caplog.records if one.levelno == logging.INFO]
    assert len(said) == 1
    assert "what was asked" in said[0]
