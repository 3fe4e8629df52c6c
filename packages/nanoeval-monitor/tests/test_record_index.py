from __future__ import annotations

import dataclasses
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nanoeval_core.metrics.clustered_mean import clustered_mean
from nanoeval_monitor._record_index import RecordIndex, peek
from nanoeval_monitor._run_summary import score_of, summary_of
from nanoeval_monitor._sample_query import find_samples, transcript
from nanoeval_recorder import report, samples

WriteRecord = Callable[..., Path]


def indexed(path: Path) -> RecordIndex:
    index = RecordIndex(path)
    index.update_all()
    return index


def ids(index: RecordIndex, **asked: str) -> list[str]:
    if "q" in asked:
        index.update_search(60.0)
    return [row["sample_id"] for row in find_samples(index, asked)["rows"]]


def test_the_index_says_what_the_record_says(write_record: WriteRecord) -> None:
    path = write_record(n=60, attempts=2)
    index = indexed(path)
    scores: dict[str, list[float]] = {}
    for one in samples(path):
        scores.setdefault(one.sample_id, []).append(float(one.correct is True))
    wanted = clustered_mean(scores)
    found = score_of(index)
    assert found["mean"] == pytest.approx(wanted.mean)
    assert (found["low"], found["high"]) == pytest.approx((wanted.low, wanted.high))
    assert (found["n"], found["num_scores"]) == (60, 120)
    peeked = peek(path)
    assert peeked is not None
    assert dataclasses.asdict(peeked) == found
    summary = summary_of(index)
    assert summary["final_report"] == report(path).final_report
    by_subject = {row["value"]: row["n"] for row in summary["groups"]["subject"]}
    assert by_subject == {"physics": 30, "biology": 30}
    assert summary["calibration"]["calibration_n"] == 120
    assert sum(one["n"] for one in summary["lengths"]) == 120


def test_filters_orders_and_pages(write_record: WriteRecord) -> None:
    path = write_record(n=50)
    index = indexed(path)
    wrong = [one.sample_id for one in samples(path) if one.correct is False]
    assert ids(index, verdict="wrong") == wrong
    assert ids(index, verdict="right", limit="500") == [
        f"q{number}" for number in range(50) if f"q{number}" not in wrong
    ]
    assert ids(index, field="subject", value="physics", limit="3") == ["q0", "q2", "q4"]
    assert ids(index, offset="48") == ["q48", "q49"]
    assert ids(index, sort="-order", limit="2") == ["q49", "q48"]
    probs = [row["prob"] for row in find_samples(index, {"sort": "prob"})["rows"]]
    assert probs == sorted(probs)


def test_full_text_finds_words_in_prompts_and_replies(write_record: WriteRecord) -> None:
    index = indexed(write_record(n=30, reply='He said "quarks" (twice); naïve'))
    assert ids(index, q="number 17") == ["q17"]
    assert len(ids(index, q="naïve quar")) == 30  # the last word may be half typed
    assert ids(index, q='quarks" OR 1=1 --') == []
    assert ids(index, q="()*") == []


@pytest.mark.parametrize(
    ("asked", "is_found"),
    [("回复", True), ("中文回复", True), ("复回", False), ("カナ", True), ("مرحبا", True),
     ("🦜", True), ("🐍", False), ("∑ gpt回", True), ("🏴\u200d☠\ufe0f", True)],
)  # fmt: skip
def test_full_text_of_languages_without_spaces_and_of_symbols(
    asked: str, is_found: bool, write_record: WriteRecord
) -> None:
    reply = "GPT回这是一个中文回复，カタカナ ∑x 🦜🏴\u200d☠\ufe0f مرحبا بالعالم"
    index = indexed(write_record(n=3, reply=reply))
    assert len(ids(index, q=asked)) == (3 if is_found else 0)


def test_a_record_that_is_being_written_is_followed(write_record: WriteRecord) -> None:
    path = write_record(n=20, finished=False)
    whole = path.read_bytes()
    cut = whole.rindex(b"\n", 0, len(whole) // 2) + 30  # in the middle of a line
    path.write_bytes(whole[:cut])
    index = indexed(path)
    first = index.progress()["attempts"]
    assert 0 < first < 20
    assert len(ids(index, q="enzyme")) == first
    path.write_bytes(whole)
    index.update_all()
    assert index.progress()["attempts"] == 20
    assert index.progress()["complete"]
    assert len(ids(index, q="enzyme")) == 20
    fresh = indexed(write_record("COPY", n=20, finished=False))
    assert score_of(index)["n"] == score_of(fresh)["n"]


def test_attempts_whose_events_come_apart_are_put_together(records: Path) -> None:
    path = records / "published.jsonl"
    lines: list[dict[str, Any]] = [
        {"spec": {"run_id": "P", "eval_name": "match", "completion_fns": ["dummy"]}}
    ]
    for kind in ("sampling", "match"):
        for number in range(1500):  # more than one batch apart
            data = (
                {"correct": number % 2 == 0, "expected": "x", "picked": "y"}
                if kind == "match"
                else {"prompt": f"p{number}", "sampled": [f"reply{number}"]}
            )
            common = {"run_id": "P", "event_id": 0, "sample_id": f"s.dev.{number}"}
            lines.append({**common, "type": kind, "data": data, "created_by": ""})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    index = RecordIndex(path)
    index.update(0.0)
    index.update_search(60.0)  # some of the attempts are searchable before their matches come
    index.update_all()
    assert score_of(index)["mean"] == pytest.approx(0.5)
    assert score_of(index)["n"] == 1500
    (row,) = find_samples(index, {"q": "reply77", "limit": "1"})["rows"][:1]
    assert row["sample_id"] == "s.dev.77"
    assert row["verdict"] == "wrong"
    events = transcript(index, "s.dev.77")["attempts"][0]["events"]
    assert [event["type"] for event in events] == ["sampling", "match"]


def test_two_monitors_may_read_the_same_record(write_record: WriteRecord) -> None:
    path = write_record(n=3000)
    one, two = RecordIndex(path), RecordIndex(path)
    whole = [False, False]
    while not all(whole):
        whole = [index.update(0.0) for index in (one, two)]
    assert score_of(one)["n"] == 3000
    assert one.progress() == two.progress()
    while not (one.update_search(0.0) & two.update_search(0.0)):
        pass
    assert len(ids(two, q="number 2999")) == 1
    events = transcript(one, "q1500")["attempts"][0]["events"]
    assert [event["type"] for event in events] == ["sampling", "match"]


def test_what_is_read_after_a_search_is_searchable_at_once(write_record: WriteRecord) -> None:
    path = write_record(n=20)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:12]))
    index = indexed(path)
    assert index.update_search(60.0)
    path.write_bytes(whole)
    index.update_all()
    assert index.progress()["searchable"] == index.progress()["attempts"] == 20
    assert len(find_samples(index, {"q": "number 19"})["rows"]) == 1


def test_a_record_that_was_cut_and_rewritten_is_read_again(write_record: WriteRecord) -> None:
    path = write_record(n=20)
    index = indexed(path)
    write_record(n=12, accuracy=1.0)
    index.update_all()
    assert index.progress()["attempts"] == 12
    assert score_of(index)["mean"] == 1.0


def test_an_index_is_kept_and_a_foreign_one_is_made_again(
    write_record: WriteRecord,
) -> None:
    path = write_record(n=10)
    indexed(path)
    file = path.with_name(f".{path.name}.index")
    assert file.stat().st_mode & 0o077 == 0
    assert RecordIndex(path).progress()["attempts"] == 10
    for suffix in ("-wal", "-shm"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    file.write_bytes(b"something else altogether, and long enough to be looked at" * 40)
    assert indexed(path).progress()["attempts"] == 10


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_has_its_index_elsewhere(
    write_record: WriteRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_record(n=3)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path.parent.chmod(0o500)
    try:
        assert indexed(path).progress()["attempts"] == 3
        assert [file.name for file in path.parent.iterdir()] == [path.name]
    finally:
        path.parent.chmod(0o700)


def test_compressed_and_rotated_records(write_record: WriteRecord, records: Path) -> None:
    plain = write_record("PLAIN", n=30)
    packed = records / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert score_of(indexed(packed)) == score_of(indexed(plain))
    assert transcript(indexed(packed), "q20") == transcript(indexed(plain), "q20")
    lines = plain.read_bytes().splitlines(keepends=True)
    (records / "rotated.jsonl").write_bytes(b"".join(lines[:21]))
    (records / "rotated.0001.jsonl").write_bytes(lines[0] + b"".join(lines[21:]))
    rotated = indexed(records / "rotated.jsonl")
    assert score_of(rotated) == score_of(indexed(plain))
    assert transcript(rotated, "q25") == transcript(indexed(plain), "q25")


def test_the_json_format(records: Path) -> None:
    path = records / "flat.jsonl"
    stamp = {"timestamp": "2026-10-01T10:00:00Z"}
    lines = [{**stamp, "record_type": "run_started", "run_id": "J", "eval_name": "flat"}]
    ids_ = {**stamp, "sample_id": "q1", "group_id": "1.0"}
    lines.append({**ids_, "record_type": "match", "correct": True, "expected": "A"})  # type: ignore[dict-item]
    lines.append({**stamp, "record_type": "final_report", "final_report": {"accuracy": 1.0}})  # type: ignore[dict-item]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    summary = summary_of(indexed(path))
    assert summary["score"]["mean"] == 1.0
    assert summary["final_report"] == {"accuracy": 1.0}


def test_lines_that_are_no_events_are_counted_and_left_out(write_record: WriteRecord) -> None:
    path = write_record(n=5)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"garbage{\n", *lines[3:]]))
    assert indexed(path).progress()["bad_lines"] == 1
    assert indexed(path).progress()["attempts"] == 5


def test_long_texts_are_cut_unless_all_is_asked_for(write_record: WriteRecord) -> None:
    index = indexed(write_record(n=1, reply="x" * 1_000_000))
    cut = transcript(index, "q0")["attempts"][0]["events"][0]["data"]["sampled"][0]
    assert cut["$length"] == 1_000_000
    assert len(cut["$cut"]) < 50_000
    whole = transcript(index, "q0", whole=True)["attempts"][0]["events"][0]["data"]["sampled"]
    assert whole == ["x" * 1_000_000]
    with pytest.raises(KeyError):
        transcript(index, "no such sample")
