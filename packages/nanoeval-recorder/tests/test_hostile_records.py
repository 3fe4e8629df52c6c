"""Whatever a file holds, readers end: with its events, or an error that names file and line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from nanoeval_core import RecorderError
from nanoeval_recorder import (
    accuracy_by,
    attempt_scores,
    evallib_recorder,
    json_recorder,
    read,
    report,
    reports,
    samples,
)
from nanoeval_recorder.reading.dataframe import columns, rows
from nanoeval_recorder.reading.events import Event, RunStarted
from nanoeval_recorder.reading.outline import outline_of
from nanoeval_recorder.reading.reader import record_files

from tests.support.recorder_driver import attempt, build

READERS: list[Callable[[Path], object]] = [
    lambda path: list(read(path)),
    lambda path: list(samples(path)),
    lambda path: list(attempt_scores(path)),
    lambda path: accuracy_by(path, "subject"),
    lambda path: list(rows(path)),
    columns,
    report,
    outline_of,
]
CONFIGS = {"evallib": evallib_recorder, "json": json_recorder}
in_this_folder = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def record_attempt(r: Any) -> None:
    long = "x" * 12_000
    r.record_sampling([{"role": "user", "content": long}], "4 é\u2028", usage={"n": 1})
    r.record_sampling([{"role": "user", "content": long}, {"role": "user", "content": "b"}], "5")
    r.record_match(True, expected=["4"], picked="4", metadata={"subject": "sums"})
    r.record_error("odd", KeyError("k"))
    r.record_extra({"deep": [[[["in"]]]]})
    r.record_sample_completed(seconds=1.5)
    r.record_file(b"\x00\xff", "image/png")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A record in each format, as bytes."""
    found = {}
    for name, config in CONFIGS.items():
        folder = tmp_path_factory.mktemp(name)
        with build(config(log_dir=str(folder))) as recorder:
            recorder.write_events(
                [attempt(recorder, record_attempt, sample_id=f"q{i}") for i in range(3)]
            )
            recorder.record_final_report({"accuracy": 1.0})
        (path,) = folder.iterdir()
        found[name] = path.read_bytes()
    return found


def facts(events: list[Event]) -> list[Any]:
    return [(type(event), msgspec.to_builtins(event)) for event in events]


@pytest.mark.parametrize("name", sorted(CONFIGS))
@in_this_folder
@given(data=st.data())
def test_any_prefix_of_a_record_gives_a_prefix_of_its_events(
    name: str, data: st.DataObject, whole: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(whole[name])
    every = facts(list(read(path)))
    cut = data.draw(st.integers(0, len(whole[name])))
    path.write_bytes(whole[name][:cut])
    found = facts(list(read(path)))
    assert found == every[: len(found)]
    assert len(found) >= whole[name][:cut].count(b"\n")
    for reader in READERS:
        reader(path)


def refusal(read_it: Callable[[Path], object], path: Path) -> str:
    """What a reader says that refuses a file, and nothing otherwise."""
    try:
        read_it(path)
    except RecorderError as error:
        return str(error)
    return ""


def check(path: Path) -> None:
    said = [refusal(reader, path) for reader in READERS] + [refusal(reports, path.parent)]
    assert all(path.name in text for text in said if text)
    for file in record_files(path.parent):
        outline_of(file)


@in_this_folder
@given(st.binary(max_size=400))
@example(b"\xff\xfe{\x00}\x00")
@example(b"\n\n\n")
@example(b'{"spec": null}\n{"type": "match"')
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    check(path)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["match", "sampling", "q1", "1.0", "run_started", "error"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["correct", "prompt", "sampled", "repeats", "back", "messages", "run_id",
                         "metadata", "content", "reply", "message", "completion_fns", "score"]),
        inner, max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip
names = st.sampled_from(
    ["run_id", "event_id", "sample_id", "group_id", "type", "data", "created_at", "created_by",
     "spec", "final_report", "record_type", "timestamp", "run_spec", "error", "correct",
     "metadata", "sha256", "status", "message", "extra", "prompt", "sampled"]
)  # fmt: skip
lines = st.dictionaries(names, values, max_size=8)


@in_this_folder
@given(st.lists(lines, max_size=6))
def test_fields_of_any_type_are_read_or_refused(tmp_path: Path, found: list[Any]) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in found))
    check(path)


def test_bytes_that_are_no_text_name_file_and_line(tmp_path: Path, whole: dict[str, bytes]) -> None:
    path = tmp_path / "r.jsonl"
    first, second, *rest = whole["evallib"].splitlines(keepends=True)
    path.write_bytes(first + second.replace(b"x" * 99, b"\xff\xfe", 1) + b"".join(rest))
    with pytest.raises(RecorderError, match=r"r\.jsonl:2 is no JSON: .*utf-8"):
        list(read(path))


def test_deep_nesting_names_file_and_line(tmp_path: Path, whole: dict[str, bytes]) -> None:
    path = tmp_path / "r.jsonl"
    deep = b'{"run_id":"r","type":"extra","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
    path.write_bytes(whole["evallib"] + deep)
    number = whole["evallib"].count(b"\n") + 1
    with pytest.raises(RecorderError, match=rf"r\.jsonl:{number} is no JSON: .*nested"):
        list(read(path))
    check(path)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_never_ends_is_refused_and_hides_nothing(
    kind: str, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    (tmp_path / "good.jsonl").write_bytes(whole["evallib"])
    odd = tmp_path / "odd.jsonl"
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to("/dev/zero")
    for reader in READERS:
        with pytest.raises(RecorderError, match=r"odd\.jsonl is no regular file"):
            reader(odd)
    assert [file.name for file in record_files(tmp_path)] == ["good.jsonl"]
    assert len(list(samples(tmp_path))) == 3


OLD = [
    {"spec": {"model_name": "text-davinci-003", "model_names": {"completions": ["x"]},
              "eval_name": "arithmetic.dev.match-v1", "base_eval": "arithmetic", "split": "dev",
              "run_config": {}, "created_by": "me", "run_id": "230314", "created_at": "2023"}},
    {"final_report": {"accuracy": 0.5}},
    {"run_id": "230314", "event_id": 1, "sample_id": "arithmetic.dev.1", "type": "match",
     "data": {"correct": True, "expected": "4", "picked": "4", "sampled": "4"},
     "created_by": "me", "created_at": "2023-03-14 10:00:00+00:00"},
    {"run_id": "230314", "event_id": 0, "sample_id": "arithmetic.dev.0", "type": "match",
     "data": {"correct": False, "expected": "4", "picked": None}, "created_at": "2023"},
]  # fmt: skip


def test_records_of_the_first_releases_of_evals_are_read(tmp_path: Path) -> None:
    """Their final report has no run id, and comes before the events that were flushed later."""
    path = tmp_path / "old.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in OLD))
    started = next(read(path))
    assert isinstance(started, RunStarted)
    assert (started.run_id, started.model) == ("230314", "text-davinci-003")
    assert {event.run_id for event in read(path)} == {"230314"}
    found = report(path)
    assert (found["accuracy"], found.accuracy, found.samples) == (0.5, 0.5, 2)
    outline = outline_of(path)
    assert outline is not None
    assert outline.final_report == {"accuracy": 0.5}
    assert [score.score for score in attempt_scores(path)] == [1.0, 0.0]


def test_a_folder_of_odd_files_gives_what_is_sound(tmp_path: Path, whole: dict[str, bytes]) -> None:
    for number, content in enumerate([b"", b"\xff" * 50, b"[" * 9999, b'{"spec":{}}', b"null\n"]):
        (tmp_path / f"{number}.jsonl").write_bytes(content)
    (tmp_path / "good.jsonl").write_bytes(whole["json"])
    shutil.copy(tmp_path / "good.jsonl", tmp_path / "wrong.jsonl.zst")
    names = {file.name for file in record_files(tmp_path) if outline_of(file) is not None}
    assert names == {"good.jsonl", "3.jsonl"}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_a_copy_took_no_longer_than_its_run(
    tmp_path: Path, whole: dict[str, bytes], name: str
) -> None:
    (tmp_path / "copy.jsonl").write_bytes(whole[name])
    os.utime(tmp_path / "copy.jsonl", (4e9, 4e9))
    outline = outline_of(tmp_path / "copy.jsonl")
    assert outline is not None
    seconds = outline.facts().seconds
    assert seconds is not None
    assert seconds < 1e6
