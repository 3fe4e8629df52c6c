"""Records are read back: events, attempts, reports and tables."""

from __future__ import annotations

import gzip
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
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
    to_dataframe,
)
from nanoeval_recorder._file_recorder import FileRecorder
from nanoeval_recorder.reading.dataframe import csv_cell, write_parquet
from nanoeval_recorder.reading.events import (
    ErrorEvent,
    FinalReport,
    Match,
    Metrics,
    OtherEvent,
    RunStarted,
    Sampling,
)
from nanoeval_recorder.reading.reader import record_files

from tests.support.recorder_driver import attempt, build, ids

CONFIGS = {"evallib": evallib_recorder, "json": json_recorder}
both = pytest.mark.parametrize("name", sorted(CONFIGS))


def record_attempt(r: Any) -> None:
    r.record_sampling([{"role": "user", "content": "2+2?"}], "4", model="m", usage={"n": 1})
    r.record_match(True, expected=["4", "four"], picked="4", prob_correct=0.9)
    r.record_error("odd", KeyError("k"))
    r.record_sample_completed(seconds=1.5)
    r.record_extra([1, 2])


def write(name: str, folder: Path, *, questions: int = 2, finish: bool = True) -> Path:
    recorder = build(CONFIGS[name](log_dir=str(folder)), ids())
    assert isinstance(recorder, FileRecorder)
    with recorder:
        for q in range(questions):
            for group in ("1.0", "2.1"):
                recorder.write_events(
                    [attempt(recorder, record_attempt, sample_id=f"q{q}", group_id=group)]
                )
        if finish:
            recorder.record_final_report({"accuracy": 0.75, "nested": {"n": 2}})
    return recorder.path


def old_log(folder: Path, *lines: Any) -> Path:
    """A file as the published package writes it: interleaved, the final report not last, NaN."""
    path = folder / "old.log"
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return path


OLD_SPEC = {
    "spec": {"completion_fns": ["gpt"], "eval_name": "e.dev.v0", "base_eval": "e", "split": "dev",
             "run_config": {}, "created_by": "", "run_id": "R", "created_at": "2024-01-01"},
}  # fmt: skip


def old_event(number: int, sample: Any, kind: str, data: Any) -> dict[str, Any]:
    return {
        "run_id": "R", "event_id": number, "sample_id": sample, "type": kind, "data": data,
        "created_by": "", "created_at": "2024-01-01 00:00:00.1+00:00",
    }  # fmt: skip


@both
def test_events_are_typed(name: str, tmp_path: Path) -> None:
    path = write(name, tmp_path, questions=1)
    started, sampling, match, error, completed, extra, *_, final = read(path)
    assert isinstance(started, RunStarted)
    assert (started.eval_name, started.model) == ("quiz.dev", "small")
    assert isinstance(sampling, Sampling)
    assert sampling.prompt == [{"role": "user", "content": "2+2?"}]
    assert sampling.sampled == ["4"]
    assert sampling.get("model") == "m"
    assert isinstance(match, Match)
    assert (match.correct, match.expected, match.picked) == (True, ["4", "four"], "4")
    assert match.prob_correct == 0.9
    assert isinstance(error, ErrorEvent)
    assert error.message == "'k'"
    assert error.error_type == ("KeyError" if name == "evallib" else None)  # json has none
    assert isinstance(completed, Metrics)
    assert completed.completed
    assert completed.get("seconds") == 1.5
    assert (extra.type, extra.data) == ("extra", [1, 2])
    assert isinstance(final, FinalReport)
    assert final.final_report == {"accuracy": 0.75, "nested": {"n": 2}}
    run_id = started.run_id
    assert run_id
    assert {event.run_id for event in read(path)} == {run_id}
    assert all(event.created_at for event in (sampling, match, extra))


@both
def test_a_half_written_last_line_ends_the_file(name: str, tmp_path: Path) -> None:
    path = write(name, tmp_path, finish=False)
    whole = path.read_bytes()
    expected = len(list(read(path)))
    last = whole.splitlines(keepends=True)[-1]
    for cut in range(1, len(last)):
        path.write_bytes(whole[:-cut])
        found = len(list(read(path)))
        assert found == (expected if cut == 1 else expected - 1)


@both
def test_an_empty_or_barely_begun_file_has_no_events(name: str, tmp_path: Path) -> None:
    path = write(name, tmp_path)
    begun = path.read_bytes()[:20]
    path.write_bytes(begun)
    assert list(read(path)) == []
    path.write_bytes(b"")
    assert list(read(path)) == []


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = write("evallib", tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3][:30] + b"\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(RecorderError, match=r"\.jsonl:4 is no JSON"):
        list(read(path))


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "samples.jsonl"
    other.write_text('{"input": "x", "ideal": "y"}\n')
    with pytest.raises(RecorderError, match="no event of a record"):
        list(read(other))
    with pytest.raises(FileNotFoundError, match="give a file or a folder"):
        list(read(tmp_path / "nothing"))


def test_a_compressed_record_cut_inside_a_frame_ends_there(tmp_path: Path) -> None:
    recorder = build(evallib_recorder(log_dir=str(tmp_path), compression="zst"), ids())
    assert isinstance(recorder, FileRecorder)
    with recorder:
        for q in range(4):
            recorder.write_events([attempt(recorder, record_attempt, sample_id=f"q{q}")])
    whole = recorder.path.read_bytes()
    assert len(list(read(recorder.path))) == 21
    recorder.path.write_bytes(whole[:-7])
    assert len(list(read(recorder.path))) in range(16, 21)


def test_gzipped_records_are_read(tmp_path: Path) -> None:
    path = write("evallib", tmp_path)
    packed = tmp_path / "packed" / f"{path.name}.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert [e.type for e in read(packed)] == [e.type for e in read(path)]


def test_a_gzipped_record_cut_off_ends_there(tmp_path: Path) -> None:
    whole = write("evallib", tmp_path / "whole", questions=400)
    packed = tmp_path / "r.jsonl.gz"
    compressed = gzip.compress(whole.read_bytes())
    packed.write_bytes(compressed[: len(compressed) // 2])
    found = [event.event_id for event in read(packed)]
    every = [event.event_id for event in read(whole)]
    assert 0 < len(found) < len(every)
    assert found == every[: len(found)]


def test_rotated_records_that_were_compressed_are_one(tmp_path: Path) -> None:
    config = evallib_recorder(log_dir=str(tmp_path), rotate_bytes=2000)
    recorder = build(config, ids())
    assert isinstance(recorder, FileRecorder)
    with recorder:
        for q in range(8):
            recorder.write_events([attempt(recorder, record_attempt, sample_id=f"q{q}")])
    before = [event.event_id for event in read(tmp_path)]
    parts = sorted(tmp_path.iterdir())
    assert len(parts) > 2
    for part in parts:
        part.with_name(f"{part.name}.gz").write_bytes(gzip.compress(part.read_bytes()))
        part.unlink()
    assert [event.event_id for event in read(tmp_path)] == before
    assert len(reports(tmp_path)) == 1


def test_parts_after_one_that_was_removed_are_read_and_cut_off(tmp_path: Path) -> None:
    recorder = build(evallib_recorder(log_dir=str(tmp_path), rotate_bytes=2000), ids())
    assert isinstance(recorder, FileRecorder)
    with recorder:
        beginning = recorder.position()
        for q in range(12):
            recorder.write_events([attempt(recorder, record_attempt, sample_id=f"q{q}")])
        every = [event.event_id for event in read(recorder.path)]
        *parts, first = sorted(tmp_path.iterdir())
        assert first == recorder.path
        gone = {event.event_id for event in read(parts[1])} - {None}
        parts[1].unlink()
        found = [event.event_id for event in read(recorder.path)]
        assert gone
        assert found == [event_id for event_id in every if event_id not in gone]
        recorder.rewind(beginning)
    assert list(tmp_path.iterdir()) == [recorder.path]


@both
def test_recorded_fields_called_like_the_formats_own_stay_fields(name: str, tmp_path: Path) -> None:
    recorder = build(CONFIGS[name](log_dir=str(tmp_path)), ids())
    assert isinstance(recorder, FileRecorder)
    own = {"run_id": "mine", "event_id": 7, "type": "t", "created_by": "c", "spec": 1, "data": 2}

    def record(r: Any) -> None:
        r.record_match(True, expected="a", picked="a", **own)
        r.record_sample_completed(**own)

    with recorder:
        recorder.write_events([attempt(recorder, record)])
    (sample,) = samples(recorder.path)
    assert sample.run_id == recorder.run_spec.run_id
    assert [event.type for event in sample.events] == ["match", "metrics"]
    assert own.items() <= sample.events[0].data.items()


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
def test_a_damaged_record_is_named(suffix: str, tmp_path: Path) -> None:
    damaged = tmp_path / f"r{suffix}"
    damaged.write_bytes(b"was never compressed")
    with pytest.raises(RecorderError, match=rf"r{suffix} cannot be decompressed"):
        list(read(damaged))


def test_what_cannot_be_read_in_a_folder_does_not_hide_the_rest(tmp_path: Path) -> None:
    good = write("evallib", tmp_path)
    for suffix in (".jsonl.gz", ".jsonl.zst", ".jsonl"):
        (tmp_path / f"damaged{suffix}").write_bytes(b"\x80 was never a record")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "broken.jsonl").symlink_to(tmp_path / "nowhere")
    assert {found.path for found in reports(tmp_path)} == {good}
    assert record_files(tmp_path) == [good]


def test_a_folder_gives_all_its_runs_and_nothing_else(tmp_path: Path) -> None:
    write("evallib", tmp_path / "a")
    write("json", tmp_path / "b" / "deeper")
    old_log(tmp_path, OLD_SPEC, old_event(0, "s", "match", {"correct": True}))
    (tmp_path / "samples.jsonl").write_text('{"input": "x", "ideal": "y"}\n')
    (tmp_path / "notes.txt").write_text("not a record")
    (tmp_path / "torn.jsonl").write_text('{"spec": {"run_')
    started = [e for e in read(tmp_path) if isinstance(e, RunStarted)]
    assert len(started) == 3
    assert len({e.run_id for e in started}) == 3


def test_files_of_the_published_package_are_read(tmp_path: Path) -> None:
    path = old_log(
        tmp_path,
        OLD_SPEC,
        {"final_report": {"accuracy": math.nan}, "run_id": "R"},
        old_event(0, "e.dev.1", "sampling", {"prompt": "p", "sampled": "bare text"}),
        old_event(1, "e.dev.2", "match", {"correct": False, "expected": "a", "picked": None}),
        old_event(2, "e.dev.1", "match", {"correct": True, "expected": "a", "picked": "a"}),
        old_event(3, "e.dev.1", "metrics", {"accuracy": 1.0, "f1": math.nan}),
        old_event(4, 7, "function_call", {"name": "f"}),
        old_event(5, "e.dev.2", "raw_sample", {"input": 1}),
    )
    events = list(read(path))
    assert [e.type for e in events] == [
        "spec", "final_report", "sampling", "match", "match", "metrics", "function_call",
        "raw_sample",
    ]  # fmt: skip
    assert isinstance(events[2], Sampling)
    assert events[2].sampled == ["bare text"]
    assert isinstance(events[6], OtherEvent)
    assert events[6].sample_id == "7"
    found = {sample.sample_id: sample for sample in samples(path)}
    assert [e.type for e in found["e.dev.1"].events] == ["sampling", "match", "metrics"]
    assert (found["e.dev.1"].correct, found["e.dev.2"].correct) == (True, False)
    assert (found["e.dev.1"].attempt, found["e.dev.1"].retry) == (1, 0)
    summary = report(path)
    assert summary.is_complete
    assert (summary.samples, summary.accuracy) == (2, 0.5)


@both
def test_samples_join_the_events_of_each_attempt(name: str, tmp_path: Path) -> None:
    found = list(samples(write(name, tmp_path, questions=3)))
    assert [(s.sample_id, s.attempt, s.retry) for s in found] == [
        (f"q{q}", attempt_id, retry) for q in range(3) for attempt_id, retry in ((1, 0), (2, 1))
    ]
    for sample in found:
        assert len(sample.events) == 5
        assert sample.correct is True
        assert sample.match is sample.matches[-1]
        assert sample.samplings[0].sampled == ["4"]
        assert sample.errors[0].message == "'k'"


def test_samples_are_given_while_the_record_is_read(tmp_path: Path) -> None:
    """Flat memory: the first attempts are given long before the last ones are read."""
    path = write("evallib", tmp_path, questions=1500, finish=False)
    with path.open("ab") as file:
        file.write(b"broken\n{}\n")
    found = samples(path)
    assert next(found).sample_id == "q0"
    with pytest.raises(RecorderError, match="no JSON"):
        list(found)


def test_nested_ids_do_not_split_an_attempt(tmp_path: Path) -> None:
    def record(r: Any) -> None:
        r.record_extra(1)
        with r.as_default_recorder("tool", "1.0") as tool:
            tool.record_extra(2)
        r.record_extra(3)

    recorder = build(evallib_recorder(log_dir=str(tmp_path)), ids())
    with recorder:
        recorder.write_events([attempt(recorder, record)])
    found = {s.sample_id: [e.data for e in s.events] for s in samples(tmp_path)}
    assert found == {"q0": [1, 3], "tool": [2]}


@both
def test_the_report_says_what_became_of_the_run(name: str, tmp_path: Path) -> None:
    summary = report(write(name, tmp_path))
    assert summary["accuracy"] == 0.75
    assert summary == {"accuracy": 0.75, "nested": {"n": 2}}
    assert summary.final_report == dict(summary)
    assert summary.is_complete
    assert summary.run_id
    assert summary.spec["eval_name"] == "quiz.dev"
    assert (summary.samples, summary.accuracy, summary.errors) == (2, 1.0, 4)
    assert summary.events["match"] == 4


def test_the_report_of_an_unfinished_run_says_so(tmp_path: Path) -> None:
    summary = report(write("evallib", tmp_path, finish=False))
    assert not summary.is_complete
    assert summary == {}
    assert summary.accuracy == 1.0


def test_a_folder_of_several_runs_has_several_reports(tmp_path: Path) -> None:
    write("evallib", tmp_path)
    assert report(tmp_path).is_complete
    write("json", tmp_path)
    with pytest.raises(RecorderError, match=r"holds 2 records.*reports\(path\)"):
        report(tmp_path)
    assert [r.is_complete for r in reports(tmp_path)] == [True, True]


@pytest.mark.parametrize("library", ["polars", "pandas"])
@both
def test_a_table_has_a_row_for_each_attempt(
    name: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed: pip install {library}")
    if library == "pandas":
        monkeypatch.setitem(sys.modules, "polars", None)
    write(name, tmp_path / "1")
    old_log(
        tmp_path, OLD_SPEC, old_event(0, "s", "match", {"correct": False, "expected": {"a": 1}})
    )
    frame = to_dataframe(tmp_path)
    assert type(frame).__module__.partition(".")[0] == library
    rows = frame.to_dicts() if library == "polars" else frame.to_dict("records")
    assert len(rows) == 5
    assert [row["correct"] for row in rows] == [True] * 4 + [False]
    first, last = rows[0], rows[-1]
    assert (first["eval_name"], first["model"], first["sample_id"]) == ("quiz.dev", "small", "q0")
    assert (first["attempt"], first["retry"], first["samplings"]) == (1, 0, 1)
    assert json.loads(first["prompt"]) == [{"role": "user", "content": "2+2?"}]
    assert (first["sampled"], first["expected"], first["picked"]) == ("4", '["4", "four"]', "4")
    assert (last["eval_name"], last["expected"]) == ("e.dev.v0", '{"a": 1}')


def test_without_a_table_library_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(RecorderError, match="pip install polars"):
        to_dataframe(write("evallib", tmp_path))


def write_with_metadata(folder: Path) -> Path:
    recorder = build(evallib_recorder(log_dir=str(folder)), ids())
    assert isinstance(recorder, FileRecorder)
    with recorder:
        for q in range(8):
            metadata = {"subject": "=sums" if q % 2 else "tables", "level": q, "model": "theirs"}

            def record(r: Any, q: int = q, metadata: dict[str, Any] = metadata) -> None:
                r.record_sampling("@prompt", f"-{q}")
                r.record_match(q < 4, expected="+1", picked="\t2", metadata=metadata)

            for group in ("1.0", "2.0"):
                recorder.write_events(
                    [attempt(recorder, record, sample_id=f"q{q}", group_id=group)]
                )
    return recorder.path


def test_the_metadata_of_questions_are_columns_and_groups(tmp_path: Path) -> None:
    path = write_with_metadata(tmp_path)
    frame = to_dataframe(path)
    assert frame["subject"].to_list()[:3] == ["tables", "tables", "=sums"]
    assert frame["level"].to_list()[::2] == list(range(8))
    assert set(frame["metadata_model"].to_list()) == {"theirs"}
    assert frame["model"].to_list()[0] == "small"
    assert accuracy_by(path, "subject") == {"tables": (4, 0.5), "=sums": (4, 0.5)}
    assert accuracy_by(path, "level")[0] == (1, 1.0)
    assert accuracy_by(path, "nothing") == {None: (8, 0.5)}


def test_parquet_is_written_in_row_groups_with_the_same_rows(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars", reason="pip install polars")
    path = write_with_metadata(tmp_path)
    write_parquet(path, tmp_path / "out.parquet")
    found = polars.read_parquet(tmp_path / "out.parquet")
    assert found.equals(to_dataframe(path))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_a_cell_of_a_csv_is_never_a_formula(text: str) -> None:
    assert csv_cell(text) == f"'{text}"
    assert csv_cell(f"a{text}") == f"a{text}"
    assert csv_cell(-1) == -1


@both
def test_scores_are_those_of_the_samples(name: str, tmp_path: Path) -> None:
    path = write(name, tmp_path, questions=3)
    expected = [(s.sample_id, s.attempt, s.retry, 1.0, False) for s in samples(path)]
    assert [score[:5] for score in attempt_scores(path)] == expected


@both
def test_scores_of_retried_attempts_say_which_failed(name: str, tmp_path: Path) -> None:
    recorder = build(CONFIGS[name](log_dir=str(tmp_path)), ids())

    def fails(r: Any) -> None:
        r.record_match(False)
        r.record_error("down", KeyError("k"))

    with recorder:
        recorder.write_events([attempt(recorder, fails, group_id="1.0", completed=False)])
        recorder.write_events(
            [attempt(recorder, lambda r: r.record_match(False, score=0.25), group_id="1.1")]
        )
    found = [(s.retry, s.score, s.failed) for s in attempt_scores(tmp_path)]
    assert found == [(0, None, True), (1, 0.25, False)]
