"""The evallib and json recorders, driven as the runner drives them."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from nanoeval_core import RecorderError, RolloutSystemError, get_recorder
from nanoeval_core.recorder_protocol import RecorderProtocol, find_recorder, recorder_names
from nanoeval_core.recording import TransactionalRecorder
from nanoeval_recorder import evallib_recorder, in_memory_recorder, json_recorder, read
from nanoeval_recorder._file_recorder import FileRecorder
from nanoeval_recorder.json_lines import JsonRecorderConfig
from nanoeval_recorder.reading.events import Match

from tests.support.recorder_driver import Quiz, attempt, build, ids, quiz_attempts

CONFIGS = {"evallib": evallib_recorder, "json": json_recorder}
both = pytest.mark.parametrize("name", sorted(CONFIGS))


def lines_of(recorder: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recorder.path.read_bytes().splitlines()]


def open_recorder(name: str, folder: Path, **options: Any) -> FileRecorder:
    recorder = build(CONFIGS[name](log_dir=str(folder), **options))
    assert isinstance(recorder, FileRecorder)
    return recorder


def test_they_are_found_by_name() -> None:
    assert {"dummy", "evallib", "json"} <= set(recorder_names())
    assert find_recorder("evallib") is evallib_recorder
    assert find_recorder("json") is json_recorder


@both
def test_they_are_transactional_recorders(name: str, tmp_path: Path) -> None:
    recorder = open_recorder(name, tmp_path)
    assert isinstance(recorder, TransactionalRecorder)
    assert isinstance(recorder.encoder().attempt("q", "1.0"), RecorderProtocol)


def test_evallib_lines_are_what_readers_of_the_format_need(tmp_path: Path) -> None:
    with open_recorder("evallib", tmp_path) as recorder:
        recorder.write_events(quiz_attempts(recorder, range(2)))
        recorder.record_final_report({"accuracy": 1.0})
    first, *events, last = lines_of(recorder)
    assert list(first) == ["spec"]
    spec = first["spec"]
    assert spec["run_id"] == recorder.run_spec.run_id
    assert spec["eval_name"] == "quiz.dev"
    assert (spec["base_eval"], spec["split"]) == ("quiz", "dev")
    assert spec["completion_fns"] == ["small"]
    assert {"created_at", "created_by", "run_config"} <= set(spec)
    assert [event["event_id"] for event in events] == [0, 1, 2, 3]
    assert [event["type"] for event in events] == ["sampling", "match"] * 2
    assert {event["run_id"] for event in events} == {spec["run_id"]}
    assert [event["sample_id"] for event in events] == ["q0", "q0", "q1", "q1"]
    assert events[0]["data"] == {"prompt": "p", "sampled": ["yes"]}
    assert events[1]["data"] == {"correct": True, "expected": "yes", "picked": "yes"}
    assert events[0]["group_id"] == "1.0"
    assert last == {"final_report": {"accuracy": 1.0}, "run_id": spec["run_id"]}
    for event in events:
        assert datetime.fromisoformat(event["created_at"]).utcoffset() == timedelta(0)


def test_json_lines_have_a_type_a_time_and_their_own_fields(tmp_path: Path) -> None:
    def record(r: RecorderProtocol) -> None:
        r.record_sampling("p", "one text", model="m")
        r.record_sampling("p", ["a", "b"], extra_allowed_metadata_fields=["x"])
        r.record_match(False, expected="a", picked=None, prob_correct=0.25, note="n")
        r.record_match(True)
        r.record_error("broke", ValueError("bad"), where="here")
        r.record_error("broke", None)
        r.record_extra({"any": "thing"})
        r.record_sample_completed(seconds=2)

    with open_recorder("json", tmp_path) as recorder:
        recorder.write_events([attempt(recorder, record)])
        recorder.record_final_report({"accuracy": 0.0})
    started, *events, last = lines_of(recorder)
    base = ["timestamp", "record_type", "sample_id", "group_id"]
    for line in (started, *events, last):
        assert list(line)[:4] == base
    assert started["record_type"] == "run_started"
    assert started["run_id"] == recorder.run_spec.run_id
    run_spec = recorder.run_spec
    assert started["run_spec"] == {"run_id": run_spec.run_id, "run_set_id": run_spec.run_set_id}
    own = [{name: e[name] for name in e if name not in base} for e in events]
    assert [
        (e["record_type"], list(fields.items())) for e, fields in zip(events, own, strict=True)
    ] == [
        ("sampling", [("prompt", "p"), ("sampled", "one text"), ("model", "m")]),
        ("sampling", [("prompt", "p"), ("sampled", ["a", "b"])]),
        (
            "match",
            [
                ("correct", False),
                ("expected", "a"),
                ("picked", None),
                ("prob_correct", 0.25),
                ("note", "n"),
            ],
        ),
        (
            "match",
            [("correct", True), ("expected", None), ("picked", None), ("prob_correct", None)],
        ),
        ("error", [("message", "broke"), ("error", "bad"), ("where", "here")]),
        ("error", [("message", "broke"), ("error", None)]),
        ("extra", [("data", {"any": "thing"})]),
        ("sample_completed", [("status", "completed"), ("seconds", 2)]),
    ]
    assert list(last)[4:] == ["final_report"]
    assert {(e["sample_id"], e["group_id"]) for e in events} == {("q0", "1.0")}
    assert (last["record_type"], last["final_report"]) == ("final_report", {"accuracy": 0.0})
    for line in (started, *events, last):
        assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta(0)


@both
def test_an_attempt_that_did_not_count_leaves_no_results(name: str, tmp_path: Path) -> None:
    def record(r: RecorderProtocol) -> None:
        r.record_sampling("p", "s")
        r.record_match(True)
        with r.as_default_recorder("q0", "sub"):
            get_recorder().record_match(True)
        r.record_sample_completed()
        r.record_error("the system failed", RolloutSystemError("api down"))

    with open_recorder(name, tmp_path) as recorder:
        recorder.write_events([attempt(recorder, record, completed=False)])
    assert [event.type for event in read(recorder.path)] == ["spec", "sampling", "error"]


@both
def test_a_record_is_a_snapshot(name: str, tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": "first"}]

    def record(r: RecorderProtocol) -> None:
        r.record_sampling(prompt, "s")
        prompt[0]["content"] = "changed"

    with open_recorder(name, tmp_path) as recorder:
        recorder.write_events([attempt(recorder, record)])
    *_, sampling = read(recorder.path)
    assert sampling.data["prompt"] == [{"role": "user", "content": "first"}]


@both
def test_nothing_that_is_recorded_fails(name: str, tmp_path: Path) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

        def __bool__(self) -> bool:
            raise RuntimeError("no truth")

        def __str__(self) -> str:
            raise RuntimeError("no text")

    class OddError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no message")

    cycle: dict[str, Any] = {}
    cycle["again"] = cycle
    odd: list[Any] = [Odd(), "\ud800", cycle, {None: float("nan")}, {Odd(): 1}, 10**6000]

    def record(r: Any) -> None:
        for value in odd:
            r.record_sampling(value, value, note=value)
            r.record_match(value, expected=value, picked=value, prob_correct=value)
            r.record_error(value, OddError(), more=value)
            r.record_sample_completed(**{"\ud801": value, "type": value})
            r.record_extra(value)
            with r.as_default_recorder("\ud802", "1.0", note=value) as bound:
                bound.record_extra(value)

    with open_recorder(name, tmp_path) as recorder:
        recorder.write_events([attempt(recorder, record, sample_id="q\ud803")])
        recorder.record_final_report({"odd": odd})
    _, *events, final = read(recorder.path)
    assert len(events) == 6 * len(odd)
    assert {event.sample_id for event in events} == {"q\\ud803", "\\ud802"}
    extras = [event.data for event in events if event.sample_id == "q\\ud803"][4::5]
    assert extras[1:4] == ["\\ud800", {"again": "<cycle>"}, {"null": None}]
    assert final.data["odd"] == extras


@both
def test_nested_ids_and_fields_are_bound(name: str, tmp_path: Path) -> None:
    def record(r: RecorderProtocol) -> None:
        with r.as_default_recorder("inner", "2.1", solver="s", run_id="mine") as bound:
            assert get_recorder() is bound
            assert (bound.current_sample_id(), bound.current_group_id()) == ("inner", "2.1")
            get_recorder().record_extra(1)
        get_recorder().record_extra(2)

    with open_recorder(name, tmp_path) as recorder:
        recorder.write_events([attempt(recorder, record)])
    _, inner, outer = read(recorder.path)
    assert (inner.sample_id, inner.group_id, inner.data) == ("inner", "2.1", 1)
    assert inner.extra is not None
    assert inner.extra["solver"] == "s"
    assert inner.run_id == recorder.run_spec.run_id or name == "json"
    assert (outer.sample_id, outer.data, outer.extra) == ("q0", 2, None)


def test_fields_bound_by_a_user_never_pose_as_the_formats_own(tmp_path: Path) -> None:
    def record(r: RecorderProtocol) -> None:
        with r.as_default_recorder("q", "1.0", spec="x", final_report="y", event_id=99):
            get_recorder().record_extra(1)

    with open_recorder("evallib", tmp_path) as recorder:
        recorder.write_events([attempt(recorder, record)])
    event = lines_of(recorder)[1]
    assert "spec" not in event
    assert "final_report" not in event
    assert (event["event_id"], event["event_id_"], event["spec_"]) == (0, 99, "x")


def test_concurrent_tasks_do_not_mix_their_ids(tmp_path: Path) -> None:
    recorder = open_recorder("evallib", tmp_path)

    async def evaluate(question: str) -> None:
        with recorder.as_default_recorder(question, "1.0"):
            for step in range(5):
                await asyncio.sleep(0)
                get_recorder().record_extra({"question": question, "step": step})

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for i in range(50):
                group.create_task(evaluate(f"q{i}"))

    with recorder:
        asyncio.run(main())
    _, *events = read(recorder.path)
    assert len(events) == 250
    assert all(event.sample_id == event.data["question"] for event in events)
    assert [event.event_id for event in events] == list(range(250))


@both
def test_what_is_recorded_outside_of_attempts_is_written_at_once(name: str, tmp_path: Path) -> None:
    with open_recorder(name, tmp_path) as recorder:
        recorder.record_extra("note")
        *_, event = read(recorder.path)
        assert (event.type, event.data, event.sample_id) == ("extra", "note", None)


@both
@pytest.mark.parametrize("compression", [None, "zst"])
@pytest.mark.parametrize("rotate_bytes", [None, 1500])
def test_after_a_crash_each_event_is_there_once(
    name: str, compression: Any, rotate_bytes: int | None, tmp_path: Path
) -> None:
    """The first process wrote more than the stored position says; the second goes on from it."""
    config = CONFIGS[name](
        log_dir=str(tmp_path), compression=compression, rotate_bytes=rotate_bytes
    )
    run_spec = ids()
    first = build(config, run_spec)
    with first:
        chunks = quiz_attempts(first, range(20))
        first.write_events(chunks[:5])
        first.write_events(chunks[5:8])
        stored = first.position()
        for chunk in chunks[8:15]:
            first.write_events([chunk])
        first.record_final_report({"accuracy": "too early"})

    second = build(config, run_spec)
    with second:
        second.rewind(stored)
        for chunk in chunks[8:]:
            second.write_events([chunk])
        second.record_final_report({"accuracy": 1.0})

    assert isinstance(second, FileRecorder)
    events = list(read(second.path))
    assert [e.sample_id for e in events if isinstance(e, Match)] == [f"q{i}" for i in range(20)]
    assert [e.type for e in events].count("spec") == 1
    assert [e.data for e in events if e.type == "final_report"] == [{"accuracy": 1.0}]
    assert events[-1].type == "final_report"
    if name == "evallib":
        assert [e.event_id for e in events[1:-1]] == list(range(40))


@both
@pytest.mark.parametrize("compression", [None, "zst"])
def test_the_empty_position_starts_the_record_afresh(
    name: str, compression: Literal["zst"] | None, tmp_path: Path
) -> None:
    run_spec = ids()
    config = CONFIGS[name](log_dir=str(tmp_path), compression=compression)
    first = build(config, run_spec)
    with first:
        first.write_events(quiz_attempts(first, range(3)))
    assert isinstance(first, FileRecorder)
    with first.path.open("r+b") as file:
        file.truncate(first.path.stat().st_size - 3)  # killed as it wrote
    second = build(config, run_spec)
    with second:
        second.rewind("")
        second.write_events(quiz_attempts(second, [9]))
    assert isinstance(second, FileRecorder)
    events = list(read(second.path))
    assert [e.sample_id for e in events if isinstance(e, Match)] == ["q9"]
    assert [e.type for e in events].count("spec") == 1


@both
def test_a_resumed_run_stays_in_its_file_when_the_folder_setting_changed(
    name: str, tmp_path: Path
) -> None:
    run_spec = ids()
    first = build(CONFIGS[name](log_dir=str(tmp_path / "old")), run_spec)
    with first:
        first.write_events(quiz_attempts(first, [0]))
        stored = first.position()
    second = build(CONFIGS[name](log_dir=str(tmp_path / "new")), run_spec)
    with second:
        second.rewind(stored)
        second.write_events(quiz_attempts(second, [1]))
    assert list((tmp_path / "new").iterdir()) == []
    matches = [e.sample_id for e in read(tmp_path / "old") if isinstance(e, Match)]
    assert matches == ["q0", "q1"]


@both
def test_a_record_that_is_gone_is_reported(name: str, tmp_path: Path) -> None:
    run_spec = ids()
    config = CONFIGS[name](log_dir=str(tmp_path))
    first = build(config, run_spec)
    with first:
        first.write_events(quiz_attempts(first, range(3)))
        stored = first.position()
    assert isinstance(first, FileRecorder)
    first.path.unlink()
    second = build(config, run_spec)
    with second, pytest.raises(RecorderError, match="Put it back and resume again"):
        second.rewind(stored)


@both
@pytest.mark.parametrize("compression", [None, "zst"])
def test_a_record_replaced_by_another_of_its_size_is_reported(
    name: str, compression: Any, tmp_path: Path
) -> None:
    run_spec = ids()
    config = CONFIGS[name](log_dir=str(tmp_path), compression=compression)
    first = build(config, run_spec)
    assert isinstance(first, FileRecorder)
    with first:
        first.write_events(quiz_attempts(first, range(3)))
        stored = first.position()
    content = first.path.read_bytes()
    first.path.write_bytes(bytes(reversed(content)))
    with build(config, run_spec) as second:
        with pytest.raises(RecorderError, match="has other content"):
            second.rewind(stored)
        first.path.write_bytes(content)
        second.rewind(stored)  # put back, it is gone on from
        second.write_events(quiz_attempts(second, [3]))
    assert [e.sample_id for e in read(first.path) if isinstance(e, Match)][-1] == "q3"


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(bytes(reversed(path.read_bytes())))
    other.rename(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def overwrite(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(bytes(reversed(content)))
    os.utime(path, ns=(1, 1))


@both
@pytest.mark.parametrize("change", [remove, replace, cut, overwrite])
def test_a_record_that_is_changed_while_the_run_goes_on_is_noticed(
    name: str, change: Any, tmp_path: Path
) -> None:
    with open_recorder(name, tmp_path) as recorder:
        recorder.write_events(quiz_attempts(recorder, range(3)))
        before = recorder.position()
        change(recorder.path)
        with pytest.raises(RecorderError, match="while the run goes on"):
            recorder.write_events(quiz_attempts(recorder, [3]))
        assert recorder.position() == before


@both
def test_a_record_that_is_only_touched_goes_on(name: str, tmp_path: Path) -> None:
    with open_recorder(name, tmp_path) as recorder:
        recorder.write_events(quiz_attempts(recorder, range(3)))
        recorder.position()
        os.utime(recorder.path, ns=(1, 1))
        recorder.write_events(quiz_attempts(recorder, [3]))
    assert len([e for e in read(recorder.path) if isinstance(e, Match)]) == 4


def test_a_resumed_run_shares_its_json_file_with_no_other(tmp_path: Path) -> None:
    config, run_spec = JsonRecorderConfig(filename=tmp_path / "mine.jsonl"), ids()
    with build(config, run_spec) as first:
        first.write_events(quiz_attempts(first, [0]))
        stored = first.position()
    with build(config, run_spec) as resumed:
        resumed.rewind(stored)
        with build(config) as other:
            other.write_events(quiz_attempts(other, [1]))
        resumed.write_events(quiz_attempts(resumed, [2]))
    matches = {path.name: [e.sample_id for e in read(path) if isinstance(e, Match)]
               for path in tmp_path.iterdir()}  # fmt: skip
    assert matches == {"mine.jsonl": ["q0", "q2"], "mine.2.jsonl": ["q1"]}


def test_a_position_of_another_recorder_is_refused(tmp_path: Path) -> None:
    with open_recorder("evallib", tmp_path) as recorder, pytest.raises(RecorderError):
        recorder.rewind("17")


def test_an_existing_record_is_never_appended_to_blindly(tmp_path: Path) -> None:
    run_spec = ids()
    config = evallib_recorder(log_dir=str(tmp_path))
    with build(config, run_spec) as first:
        chunks = quiz_attempts(first, [0])
        first.write_events(chunks)
    with build(config, run_spec) as second, pytest.raises(RecorderError, match="call rewind"):
        second.write_events(chunks)


@both
def test_the_final_report_stays_last_and_single(name: str, tmp_path: Path) -> None:
    with open_recorder(name, tmp_path) as recorder:
        recorder.write_events(quiz_attempts(recorder, [0]))
        recorder.record_final_report({"accuracy": 0})
        recorder.write_events(quiz_attempts(recorder, [1]))
        assert [e.type for e in read(recorder.path)].count("final_report") == 1
        recorder.record_final_report({"accuracy": 1})
    *events, last = read(recorder.path)
    assert last.data == {"accuracy": 1}
    assert [e.type for e in events] == ["spec"] + ["sampling", "match"] * 2


@both
def test_a_folder_that_cannot_be_written_is_one_clear_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    recorder = open_recorder(name, tmp_path / "file" / "records")
    with pytest.raises(RecorderError, match=r"cannot write records to .*NANOEVAL_LOG_DIR"):
        recorder.__enter__()


def test_a_full_disk_leaves_whole_lines_and_loses_nothing(tmp_path: Path) -> None:
    """A limit on the file's size stands for the full disk: the write really fails half-way."""
    with open_recorder("evallib", tmp_path) as recorder:
        chunks = quiz_attempts(recorder, range(200))
        recorder.write_events(chunks[:2])
        before = recorder.position()
        size = recorder.path.stat().st_size
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 700, old[1]))
        try:
            with pytest.raises(RecorderError, match="resume the run to write what is missing"):
                recorder.write_events(chunks[2:])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
            signal.signal(signal.SIGXFSZ, former)
        assert recorder.position() == before
        assert recorder.path.stat().st_size == size
        recorder.write_events(chunks[2:])
    assert len([e for e in read(recorder.path) if isinstance(e, Match)]) == 200


def test_a_reader_sees_whole_lines_while_the_record_is_written(tmp_path: Path) -> None:
    with open_recorder("evallib", tmp_path) as recorder, ThreadPoolExecutor(1) as pool:
        chunks = [
            attempt(recorder, lambda r: r.record_sampling("p", "x" * 100_000), sample_id=f"q{i}")
            for i in range(50)
        ]

        def write() -> None:
            for chunk in chunks:
                recorder.write_events([chunk])

        writing = pool.submit(write)
        while not writing.done():
            for number, event in enumerate(read(recorder.path)):
                assert event.type == ("sampling" if number else "spec")
        writing.result()
        assert len(list(read(recorder.path))) == 51


@both
def test_rotation_starts_files_that_can_be_read_alone(name: str, tmp_path: Path) -> None:
    with open_recorder(name, tmp_path, rotate_bytes=3000) as recorder:
        for chunk in quiz_attempts(recorder, range(40)):
            recorder.write_events([chunk])
        recorder.record_final_report({})
    files = sorted(tmp_path.iterdir())
    assert len(files) > 3
    for file in files:
        first = json.loads(file.read_bytes().splitlines()[0])
        assert "spec" in first or first["record_type"] == "run_started"
    matches = [e.sample_id for e in read(tmp_path) if isinstance(e, Match)]
    assert matches == [f"q{i}" for i in range(40)]


def test_compressed_records_are_smaller_and_read_the_same(tmp_path: Path) -> None:
    run_spec = ids()
    paths = []
    for config in (
        evallib_recorder(log_dir=str(tmp_path)),
        evallib_recorder(log_dir=str(tmp_path), compression="zst"),
    ):
        with build(config, run_spec) as recorder:
            recorder.write_events(quiz_attempts(recorder, range(100)))
        assert isinstance(recorder, FileRecorder)
        paths.append(recorder.path)
    plain, packed = paths
    assert packed.name.endswith(".jsonl.zst")
    assert packed.stat().st_size < plain.stat().st_size / 2
    kinds = [[(e.type, e.sample_id, e.data) for e in read(p)][1:] for p in paths]
    assert kinds[0] == kinds[1]


def test_the_folder_is_the_users_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOEVAL_LOG_DIR", str(tmp_path / "chosen"))
    recorder = build(evallib_recorder())
    assert isinstance(recorder, FileRecorder)
    assert recorder.path.parent == tmp_path / "chosen"
    monkeypatch.delenv("NANOEVAL_LOG_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    recorder = build(evallib_recorder())
    assert isinstance(recorder, FileRecorder)
    if sys.platform != "darwin":
        assert recorder.path.parent == tmp_path / "state" / "nanoeval" / "records"


def test_the_spec_says_what_was_run_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "very-secret-value")
    quiz = Quiz(n=5, api_key="sesame-open", model="m very-secret-value")
    recorder = build(evallib_recorder(log_dir=str(tmp_path)), quiz=quiz)
    with recorder:
        pass
    assert isinstance(recorder, FileRecorder)
    text = recorder.path.read_text()
    assert "very-secret-value" not in text
    assert "sesame-open" not in text
    config = json.loads(text)["spec"]["run_config"]
    assert config["eval_spec"]["args"]["n"] == 5
    assert config["eval_spec"]["args"]["api_key"] == "[redacted]"
    assert config["runner"]["args"] == {"seed": 7}
    assert config["seed"] == 7
    assert config["packages"]["nanoeval-core"] == "0.1.0"
    assert config["host"]
    assert config["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}")


def test_the_spec_names_the_commit_and_whether_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nanoeval_recorder._description import git_state

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    git("init")
    (tmp_path / "eval.py").write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    clean = git_state(tmp_path)
    assert clean is not None
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    (tmp_path / "eval.py").write_text("2")
    changed = git_state(tmp_path)
    assert changed is not None
    assert (changed["commit"], changed["dirty"]) == (clean["commit"], True)


def test_odd_names_make_valid_file_names(tmp_path: Path) -> None:
    from nanoeval_recorder.folder import record_path

    path = record_path(tmp_path, "id", "a/b c:é" + "x" * 500, compressed=False)
    assert path.parent == tmp_path
    assert len(path.name) < 200
    assert path == record_path(tmp_path, "id", "a/b c:é" + "x" * 500, compressed=False)


def test_what_has_no_truth_value_or_class_is_recorded_as_it_is() -> None:
    class Hostile(tuple):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            raise RuntimeError("not today")

    class Nameless:
        @property
        def __class__(self) -> Any:
            raise RuntimeError("none of your business")

    with in_memory_recorder() as recorder:
        recorder.record_match(float("nan"))  # type: ignore[arg-type]
        recorder.record_sampling("p", Hostile((1, 2)))
        recorder.record_sampling("p", Nameless())
    match, *samplings = recorder.events
    assert match.data["correct"] is None
    assert all(len(sampling.data["sampled"]) == 1 for sampling in samplings)
