"""tee, filters and the in-memory recorder, driven as the runner drives them."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from nanoeval_core import RecorderError, RolloutSystemError, dummy_recorder, get_recorder
from nanoeval_core.recorder_protocol import RecorderProtocol
from nanoeval_core.recording import TransactionalRecorder
from nanoeval_recorder import (
    drop_samplings,
    evallib_recorder,
    in_memory_recorder,
    json_recorder,
    keep_one_in,
    read,
    tee,
)
from nanoeval_recorder.reading.events import Match, Sampling

from tests.support.recorder_driver import attempt, build, ids, quiz_attempts


def record_all(r: Any) -> None:
    r.record_sampling("p", "s")
    r.record_match(True, expected=1, picked=1)
    r.record_extra({"x": 1})
    r.record_sample_completed(n=1)
    r.record_error("bad", ValueError("x"))


def test_in_memory_gives_what_read_would() -> None:
    config = in_memory_recorder()
    with build(config) as recorder:
        recorder.write_events([attempt(recorder, record_all)])
        recorder.record_final_report({"accuracy": 1.0})
    assert [e.type for e in config.events] == ["sampling", "match", "extra", "metrics", "error"]
    assert [e.event_id for e in config.events] == [0, 1, 2, 3, 4]
    assert {(e.sample_id, e.group_id) for e in config.events} == {("q0", "1.0")}
    assert isinstance(config.events[1], Match)
    assert config.events[1].correct is True
    assert list(config.final_reports.values()) == [{"accuracy": 1.0}]


def test_in_memory_events_are_found_through_a_copy_of_the_config() -> None:
    config = in_memory_recorder()
    with build(pickle.loads(pickle.dumps(config))) as recorder:
        recorder.write_events([attempt(recorder, record_all)])
    assert len(config.events) == 5
    assert in_memory_recorder().events == []
    assert len(copy.deepcopy(config).events) == 5


def test_in_memory_serves_evals_without_a_runner() -> None:
    config = in_memory_recorder()
    with config as recorder:
        assert get_recorder() is recorder
        get_recorder().record_match(False)
    assert [e.get("correct") for e in config.events] == [False]


def test_in_memory_rewinds() -> None:
    config = in_memory_recorder()
    with build(config) as recorder:
        recorder.write_events([attempt(recorder, record_all)])
        position = recorder.position()
        recorder.write_events([attempt(recorder, record_all)])
        recorder.rewind(position)
        assert len(config.events) == 5
        recorder.rewind("")
        assert config.events == []


def test_tee_writes_to_each(tmp_path: Path) -> None:
    memory = in_memory_recorder()
    config = tee(
        evallib_recorder(log_dir=str(tmp_path / "a")), json_recorder(log_dir=str(tmp_path / "b")),
        memory, dummy_recorder(),
    )  # fmt: skip
    with build(config) as recorder:
        assert isinstance(recorder, TransactionalRecorder)
        assert isinstance(recorder.encoder().attempt("q", "1.0"), RecorderProtocol)
        recorder.write_events([attempt(recorder, record_all), b""])
        recorder.record_final_report({"n": 1})
        url = recorder.evalboard_url("run")
        assert url is not None
        assert url.startswith("file://")
    kinds = [[e.type for e in read(tmp_path / name)] for name in ("a", "b")]
    assert kinds[0] == kinds[1]
    assert kinds[0] == ["spec", "sampling", "match", "extra", "metrics", "error", "final_report"]
    assert len(memory.events) == 5


def test_both_formats_fit_in_one_folder_and_twice_the_same_is_refused(tmp_path: Path) -> None:
    folder = str(tmp_path)
    with build(tee(evallib_recorder(log_dir=folder), json_recorder(log_dir=folder))) as recorder:
        recorder.write_events([attempt(recorder, record_all)])
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(RecorderError, match="different log_dirs"):
        build(tee(json_recorder(log_dir=folder), json_recorder(log_dir=folder)))


def test_tee_goes_back_in_each(tmp_path: Path) -> None:
    config = tee(
        evallib_recorder(log_dir=str(tmp_path / "a")), json_recorder(log_dir=str(tmp_path / "b"))
    )
    run_spec = ids()
    with build(config, run_spec) as first:
        chunks = quiz_attempts(first, range(4))
        first.write_events(chunks[:2])
        position = first.position()
        first.write_events(chunks[2:])
    with build(config, run_spec) as second:
        second.rewind(position)
        second.write_events(chunks[2:])
    for name in ("a", "b"):
        found = [e.sample_id for e in read(tmp_path / name) if isinstance(e, Match)]
        assert found == ["q0", "q1", "q2", "q3"]


def test_nested_ids_reach_each_branch() -> None:
    one, two = in_memory_recorder(), in_memory_recorder()

    def record(r: Any) -> None:
        with r.as_default_recorder("inner", "2.0", solver="x"):
            get_recorder().record_extra(1)

    with build(tee(one, drop_samplings(two))) as recorder:
        recorder.write_events([attempt(recorder, record)])
    for config in (one, two):
        assert [(e.sample_id, e.extra) for e in config.events] == [("inner", {"solver": "x"})]


def test_a_branch_that_fails_is_reported_once_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = in_memory_recorder()
    with build(tee(evallib_recorder(log_dir=str(tmp_path)), memory)) as recorder:
        files: Any = recorder
        broken: Any = files.branches[0]

        def fail(events: Sequence[bytes]) -> None:
            raise RecorderError("disk full")

        broken.write_events = fail
        with caplog.at_level(logging.ERROR):
            for chunk in quiz_attempts(recorder, range(3)):
                recorder.write_events([chunk])
    assert len(memory.events) == 6
    assert len(caplog.records) == 1
    assert "disk full" in caplog.text


def test_a_tee_whose_branches_have_all_failed_says_so(tmp_path: Path) -> None:
    with build(tee(evallib_recorder(log_dir=str(tmp_path)))) as recorder:
        chunk = attempt(recorder, record_all)
        files: Any = recorder
        files.branches[0].__exit__(None, None, None)
        with pytest.raises(RecorderError, match="all recorders of the tee"):
            recorder.write_events([chunk])


def test_a_position_of_another_tee_is_refused() -> None:
    with build(tee(in_memory_recorder())) as recorder, pytest.raises(RecorderError):
        recorder.rewind('["1", "2"]')


@pytest.mark.parametrize("bad", [(), ("json",)])
def test_tee_takes_recorder_configs(bad: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=r"tee\(\)"):
        tee(*bad)


def test_dropped_samplings_leave_the_rest() -> None:
    memory = in_memory_recorder()
    with build(drop_samplings(memory)) as recorder:
        assert isinstance(recorder, TransactionalRecorder)
        recorder.write_events([attempt(recorder, record_all)])
        recorder.record_final_report({"n": 1})
    assert [e.type for e in memory.events] == ["match", "extra", "metrics", "error"]
    assert list(memory.final_reports.values()) == [{"n": 1}]


def test_one_question_in_n_keeps_its_samplings_in_every_run_and_attempt() -> None:
    kept = []
    for group in ("1.0", "2.1"):
        memory = in_memory_recorder()
        with build(keep_one_in(4, memory)) as recorder:
            recorder.write_events(
                [
                    attempt(recorder, record_all, sample_id=f"q{i}", group_id=group)
                    for i in range(400)
                ]
            )
        assert sum(isinstance(e, Match) for e in memory.events) == 400
        kept.append([e.sample_id for e in memory.events if isinstance(e, Sampling)])
    assert kept[0] == kept[1]
    assert 60 < len(kept[0]) < 140


def test_one_in_one_keeps_all() -> None:
    memory = in_memory_recorder()
    with build(keep_one_in(1, memory)) as recorder:
        recorder.write_events(quiz_attempts(recorder, range(10)))
    assert len(memory.events) == 20


def test_filters_refuse_what_they_cannot_filter() -> None:
    with pytest.raises(ValueError, match="choose some of"):
        keep_one_in(2, in_memory_recorder(), types=["samplings"])
    with pytest.raises(ValueError, match="positive"):
        keep_one_in(0, in_memory_recorder())


def test_system_errors_leave_no_results_through_all_layers() -> None:
    memory = in_memory_recorder()
    config = tee(keep_one_in(1, memory), drop_samplings(in_memory_recorder()))

    def evaluate(recorder: TransactionalRecorder) -> None:
        with recorder.as_default_recorder("q", "1.0"):
            get_recorder().record_sampling("p", "s")
            get_recorder().record_match(True)
            raise RolloutSystemError("down")

    with build(config) as recorder, pytest.raises(RolloutSystemError):
        evaluate(recorder)
    assert [e.type for e in memory.events] == ["sampling"]
