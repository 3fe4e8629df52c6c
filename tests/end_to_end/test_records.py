"""Real runs leave whole records: each attempt that counted once, whatever died in between."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno
import http.server
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chz
import pytest
from nanoeval import EvalSpec, RunnerArgs, resume, run
from nanoeval.errors import RecorderError, StateError
from nanoeval_core.recorder_protocol import RecorderConfig
from nanoeval_recorder import (
    drop_samplings,
    evallib_recorder,
    in_memory_recorder,
    json_recorder,
    read,
    report,
    samples,
    tee,
)
from nanoeval_recorder.reading.events import Match, Sampling

from tests.support.recorded_eval import RecordedEval, make_spec


@chz.chz
class KeyedEval(RecordedEval):
    api_key: str = ""
    note: str = ""


pytestmark = [
    pytest.mark.usefixtures("folders"),
    pytest.mark.timeout(180),  # pools of processes, on a busy machine
]
ROOT = Path(__file__).parent.parent.parent
MAIN = "from tests.support.recorded_eval import main; main()"
CONFIGS = {"evallib": evallib_recorder, "json": json_recorder}
both = pytest.mark.parametrize("name", sorted(CONFIGS))
POOLS: list[dict[str, Any]] = [{}, {"experimental_use_multiprocessing": True, "num_processes": 2}]
in_process_and_pooled = pytest.mark.parametrize("pool", POOLS, ids=["in_process", "pooled"])


def only_record(folder: Path) -> Path:
    (path,) = (folder / "records").iterdir()
    return path


def assert_whole(path: Path, n: int) -> None:
    """Each of `n` questions has its two matches once, beside one sampling, in numbered lines."""
    events = list(read(path))
    matches = collections.Counter(
        (e.sample_id, e.get("part")) for e in events if isinstance(e, Match)
    )
    assert matches == {(f"q{i}", part): 1 for i in range(n) for part in (1, 2)}
    kinds = [e.type for e in events]
    assert (kinds[0], kinds[-1]) == ("spec", "final_report")
    assert kinds.count("spec") == kinds.count("final_report") == 1
    numbers = [e.event_id for e in events[1:-1] if e.event_id is not None]
    assert numbers == sorted(set(numbers))
    assert report(path)["n"] == n


@both
@in_process_and_pooled
def test_a_run_is_recorded(name: str, pool: dict[str, Any], folders: Path) -> None:
    summary = asyncio.run(run(make_spec(CONFIGS[name](), runner=pool)))
    path = only_record(folders)
    assert_whole(path, 20)
    assert report(path).run_id == summary["run_id"]
    assert report(path)["accuracy"] == summary["accuracy"]
    assert {(s.attempt, s.retry) for s in samples(path)} == {(1, 0)}


@in_process_and_pooled
def test_attempts_that_failed_leave_errors_and_no_matches(
    pool: dict[str, Any], folders: Path
) -> None:
    args = {**pool, "retry_backoff": 0.0}
    asyncio.run(run(make_spec(evallib_recorder(), runner=args, n=5, fails=2)))
    path = only_record(folders)
    assert_whole(path, 5)
    found = collections.defaultdict(list)
    for sample in samples(path):
        found[sample.retry].append(sample)
    assert {retry: len(attempts) for retry, attempts in found.items()} == {0: 5, 1: 5, 2: 5}
    for retry in (0, 1):
        for sample in found[retry]:
            assert sample.match is None
            assert sample.errors[0].error_type == "RolloutSystemError"
            assert sample.samplings
    assert all(sample.correct for sample in found[2])


def test_eight_processes_writing_long_samplings_tear_no_line(folders: Path) -> None:
    pool = {"experimental_use_multiprocessing": True, "num_processes": 8}
    asyncio.run(run(make_spec(evallib_recorder(), runner=pool, n=200, size=25_000)))
    path = only_record(folders)
    with path.open("rb") as lines:
        for line in lines:
            json.loads(line)
    assert_whole(path, 200)
    assert all(len(e.sampled[0]) >= 100_000 for e in read(path) if isinstance(e, Sampling))


def test_composed_recorders_record_runs(folders: Path) -> None:
    memory = in_memory_recorder()
    config = tee(evallib_recorder(), drop_samplings(json_recorder()), memory)
    asyncio.run(run(make_spec(config, runner=POOLS[1])))
    evallib, flat = sorted((folders / "records").iterdir(), key=lambda p: "_UTC" in p.name)
    assert_whole(evallib, 20)
    assert_whole(flat, 20)
    assert not any(isinstance(e, Sampling) for e in read(flat))
    assert sum(isinstance(e, Match) for e in memory.events) == 40
    assert [r["n"] for r in memory.final_reports.values()] == [20]


def start(folders: Path, config: dict[str, Any]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, json.dumps(config)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )


def wait_for_notes(notes: Path, count: int, process: subprocess.Popen[str]) -> None:
    while len(list(notes.glob("q*"))) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@both
@in_process_and_pooled
@pytest.mark.parametrize("options", [{}, {"compression": "zst", "rotate_bytes": 600}])
def test_a_killed_run_is_resumed_with_each_attempt_once(
    name: str, pool: dict[str, Any], options: dict[str, Any], folders: Path
) -> None:
    notes = folders / "notes"
    notes.mkdir()
    config = {
        "recorder": name, "options": options, "n": 60, "notes": str(notes), "hold_after": 30,
        "runner": {**pool, "run_set_id": "killed", "concurrency": 4},
    }  # fmt: skip
    process = start(folders, config)
    with process:
        wait_for_notes(notes, 30, process)
        process.send_signal(signal.SIGKILL)
    (notes / "go").touch()
    (summary,) = asyncio.run(resume("killed"))
    assert summary["n"] == 60
    first = min((folders / "records").iterdir(), key=lambda p: len(p.name))
    assert_whole(first, 60)


def test_what_was_written_of_a_final_report_and_beyond_the_position_is_cut_off(
    folders: Path,
) -> None:
    """The file holds more than the state file vouches for, as after a crash between the two."""
    spec = make_spec(evallib_recorder(), runner={"run_set_id": "twice"})
    asyncio.run(run(spec))
    path = only_record(folders)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines) + lines[-2] + lines[-2][:40])
    asyncio.run(resume("twice", resume_completed_evals=True))
    assert_whole(path, 20)


def test_a_folder_that_cannot_be_written_stops_the_run_before_any_task(folders: Path) -> None:
    (folders / "records").write_text("in the way")
    notes = folders / "notes"
    notes.mkdir()
    with pytest.raises(RecorderError, match="NANOEVAL_LOG_DIR"):
        asyncio.run(run(make_spec(evallib_recorder(), notes=str(notes))))
    assert list(notes.iterdir()) == []
    assert not [*(folders / "state").glob("*.db"), *(folders / "backups").glob("*")]


def test_a_disk_that_fills_up_costs_no_results_and_resuming_writes_the_rest(
    folders: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    really, writes = os.pwritev, []

    def full(fd: int, data: Any, offset: int) -> int:
        writes.append(offset)
        if len(writes) > 1:  # the header fits
            really(fd, [bytes(data[0])[:10]], offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really(fd, data, offset)

    spec = make_spec(evallib_recorder(), runner={"run_set_id": "full"})
    monkeypatch.setattr(os, "pwritev", full)
    summary = asyncio.run(run(spec))
    assert summary["n"] == 20
    assert [e.type for e in read(only_record(folders))] == ["spec"]
    monkeypatch.setattr(os, "pwritev", really)
    asyncio.run(resume("full", resume_completed_evals=True))
    assert_whole(only_record(folders), 20)


class Board:
    """A third party's recorder whose methods do what `misbehave` does."""

    def __init__(self, run_spec: Any, misbehave: Any, calls: list[str]) -> None:
        self.run_spec = run_spec
        self._misbehave = misbehave
        self.calls = calls

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *exc: object) -> None:
        self.calls.append("exit")

    def current_sample_id(self) -> None:
        return None

    current_group_id = current_sample_id

    @contextlib.contextmanager
    def as_default_recorder(self, sample_id: str, group_id: str, **extra: Any) -> Iterator[Board]:
        yield self

    def _note(self, *args: Any, **kwargs: Any) -> None:
        self._misbehave()
        self.calls.append("event")

    record_match = record_sampling = record_sample_completed = record_error = _note
    record_extra = _note

    def record_final_report(self, final_report: Any) -> None:
        self.calls.append("final_report")

    def evalboard_url(self, view: str) -> str | None:
        return None


def board_config(misbehave: Any) -> Any:
    import chz
    from nanoeval_core.recorder_protocol import current_run_spec

    @chz.chz
    class BoardConfig(RecorderConfig):
        calls: Any

        async def factory(self, spec: Any, num_tasks: int) -> Any:
            return Board(current_run_spec(), misbehave, self.calls)

    return BoardConfig(calls=[])


def test_a_raising_recorder_is_reported_once_and_costs_no_results(
    folders: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def misbehave() -> None:
        raise ConnectionError("the board is down")

    with caplog.at_level(logging.ERROR):
        summary = asyncio.run(run(make_spec(board_config(misbehave))))
    assert (summary["n"], summary["accuracy"]) == (20, 1.0)
    assert caplog.text.count("ConnectionError: the board is down. Results are not affected") == 1


def test_a_slow_recorder_does_not_hold_tasks_up(folders: Path) -> None:
    """All attempts end while the recorder still has its first event in hand."""
    notes = folders / "notes"
    notes.mkdir()
    attempts_when_first_event_was_done: list[int] = []

    def misbehave() -> None:
        if not attempts_when_first_event_was_done:
            while len(list(notes.glob("q*"))) < 20:
                time.sleep(0.01)
            attempts_when_first_event_was_done.append(len(list(notes.glob("q*"))))

    config = board_config(misbehave)
    summary = asyncio.run(run(make_spec(config, notes=str(notes), runner={"concurrency": 1})))
    assert summary["n"] == 20
    assert attempts_when_first_event_was_done == [20]
    assert config.calls.count("event") == 80  # a sampling, two matches, a completion each
    assert config.calls[-2:] == ["final_report", "exit"]


def test_a_hanging_recorder_is_given_up(
    folders: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from nanoeval_core import recorder_adapter

    defaults = recorder_adapter.ThirdPartyRecorder.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "stall_timeout", 0.5)
    never = threading.Event()
    with caplog.at_level(logging.ERROR):
        summary = asyncio.run(run(make_spec(board_config(never.wait))))
    never.set()
    assert (summary["n"], summary["accuracy"]) == (20, 1.0)
    assert caplog.text.count("Board hangs") == 1


def test_the_template_recorder_reaches_its_board(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    monkeypatch.syspath_prepend(ROOT / "examples" / "custom_recorder" / "src")
    board = importlib.import_module("evalboard_recorder")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        url = f"http://127.0.0.1:{server.server_port}"
        asyncio.run(run(make_spec(board.EvalboardConfig(url=url), n=3)))
        server.shutdown()
        serving.join()
    kinds = collections.Counter(event["type"] for event in got)
    ends = {"sample_completed": 3, "final_report": 1, "stopped": 1}
    assert kinds == {"sampling": 3, "match": 6, **ends}
    assert {event["sample_id"] for event in got if event["type"] == "match"} == {"q0", "q1", "q2"}


@pytest.mark.parametrize(
    "chosen",
    [
        "evallib",
        "json",
        "nanoeval_recorder:json_recorder",
        "nanoeval_recorder.evallib:EvallibRecorderConfig",
    ],
)
def test_a_recorder_is_chosen_on_the_command_line(chosen: str, folders: Path) -> None:
    subprocess.run(
        [
            sys.executable, "-m", "examples.gpqa_simple", "eval.solver=MockSolver",
            "runner.n_tasks=3", f"runner.recorder={chosen}",
            f"runner.recorder.log_dir={folders / 'chosen'}",
        ],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (path,) = (folders / "chosen").iterdir()
    first = json.loads(path.read_bytes().splitlines()[0])
    assert ("record_type" in first) == ("json" in chosen)
    assert report(path)["n"] == 3


def test_an_unknown_recorder_is_named_with_those_there_are(folders: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.gpqa_simple", "eval.solver=MockSolver",
         "runner.recorder=evalbord"],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert "no recorder is called 'evalbord'" in done.stderr
    assert "evallib" in done.stderr


def test_a_key_that_was_rotated_is_neither_shown_nor_a_reason_to_refuse(
    folders: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """By the name of its field, and by its value where a variable of the environment has it."""
    for number in (1, 2):
        monkeypatch.setenv("TEAM_API_KEY", f"secret-number-{number}")
        keyed = KeyedEval(n=3, api_key=f"hidden-{number}", note=f"with secret-number-{number}")
        runner = RunnerArgs(run_set_id="rotated", should_backup=False, enable_slackbot=False)
        summary = asyncio.run(run(EvalSpec(eval=keyed, runner=runner)))
    assert summary["n"] == 3
    said = capfd.readouterr()
    changed = KeyedEval(n=4, api_key="hidden-3", note="plain")
    with pytest.raises(StateError) as refused:
        asyncio.run(run(EvalSpec(eval=changed, runner=runner)))
    everything = "".join([*said, str(refused.value), only_record(folders).read_text()])
    assert "n: was 3, is 4" in everything
    assert "hidden-" not in everything
    assert "secret-number" not in everything
