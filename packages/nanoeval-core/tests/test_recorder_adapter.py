"""A recorder that knows nothing of executors gets what completed attempts recorded, and no more."""

from __future__ import annotations

import contextlib
import copy
import logging
import pickle
import threading
from collections.abc import Iterator
from typing import Any, Self

import pytest
from nanoeval_core import RecorderError, get_recorder
from nanoeval_core.recorder import set_default_recorder
from nanoeval_core.recorder_adapter import ThirdPartyRecorder, as_transactional
from nanoeval_core.recorder_protocol import (
    BasicRunSpec,
    RecorderProtocol,
    View,
)
from nanoeval_core.recording import DummyRecorder, TransactionalRecorder


class Board:
    """A third party's recorder: implements the protocol, and notes its calls."""

    def __init__(self) -> None:
        self.run_spec = BasicRunSpec(run_id="r", run_set_id="s")
        self.calls: list[tuple[Any, ...]] = []
        self.threads: set[int] = set()
        self.entered = False
        self._ids: tuple[str, str] | None = None

    def __enter__(self) -> Self:
        self.entered = True
        return self

    def __exit__(self, *exc: object) -> None:
        self.entered = False

    def current_sample_id(self) -> str | None:
        return self._ids[0] if self._ids else None

    def current_group_id(self) -> str | None:
        return self._ids[1] if self._ids else None

    @contextlib.contextmanager
    def as_default_recorder(self, sample_id: str, group_id: str, **extra: Any) -> Iterator[None]:
        self._ids = (sample_id, group_id)
        with set_default_recorder(self):
            yield
        self._ids = None

    def note(self, *call: Any) -> None:
        self.threads.add(threading.get_ident())
        self.calls.append((self._ids, *call))

    def record_match(self, correct: bool, **extra: Any) -> None:
        self.note("match", correct, extra)

    def record_sampling(self, prompt: Any, sampled: Any, **extra: Any) -> None:
        self.note("sampling", prompt, sampled, extra)

    def record_sample_completed(self, **extra: Any) -> None:
        self.note("completed", extra)

    def record_error(self, msg: str, error: Exception | None, **kwargs: Any) -> None:
        self.note("error", msg, repr(error), kwargs)

    def record_extra(self, data: Any) -> None:
        self.note("extra", data)

    def record_final_report(self, final_report: Any) -> None:
        self.note("final_report", final_report)

    def record_screenshot(self, pixels: bytes) -> None:
        self.note("screenshot", pixels)

    def evalboard_url(self, view: View) -> str | None:
        return f"https://boards.example/{view}"


def taken(recorder: TransactionalRecorder, *, completed: bool = True, sample: str = "q") -> bytes:
    attempt = pickle.loads(pickle.dumps(recorder.encoder())).attempt(sample, "1.0")
    attempt.record_sampling("p", "s", model="m")
    attempt.record_match(True, expected="a")
    attempt.record_sample_completed(n=1)
    attempt.record_error("bad", ValueError("x"))
    events: bytes = attempt.take(completed=completed)
    return events


def test_a_transactional_recorder_is_left_as_it_is() -> None:
    dummy = DummyRecorder()
    assert as_transactional(dummy) is dummy


def test_others_are_wrapped_and_keep_the_protocol() -> None:
    wrapped = as_transactional(Board())
    assert isinstance(wrapped, ThirdPartyRecorder)
    assert isinstance(wrapped, TransactionalRecorder)
    assert isinstance(wrapped.encoder().attempt("q", "1.0"), RecorderProtocol)


def test_calls_are_replayed_under_their_ids_on_one_other_thread() -> None:
    board = Board()
    with as_transactional(board) as recorder:
        assert board.entered
        recorder.write_events([taken(recorder), taken(recorder, sample="r")])
        recorder.record_final_report({"accuracy": 1.0})
    assert not board.entered
    assert board.calls[:4] == [
        (("q", "1.0"), "sampling", "p", "s", {"model": "m"}),
        (("q", "1.0"), "match", True, {"expected": "a"}),
        (("q", "1.0"), "completed", {"n": 1}),
        (("q", "1.0"), "error", "bad", "ValueError('x')", {}),
    ]
    assert {call[0] for call in board.calls[4:8]} == {("r", "1.0")}
    assert board.calls[8] == (None, "final_report", {"accuracy": 1.0})
    assert len(board.threads) == 1
    assert threading.get_ident() not in board.threads


def test_an_attempt_that_did_not_count_replays_no_results() -> None:
    board = Board()
    with as_transactional(board) as recorder:
        recorder.write_events([taken(recorder, completed=False)])
    assert [call[1] for call in board.calls] == ["sampling", "error"]


def test_a_recorders_own_methods_are_captured_too() -> None:
    board = Board()
    with as_transactional(board) as recorder:
        attempt: Any = recorder.encoder().attempt("q", "1.0")
        attempt.record_screenshot(b"png")
        with pytest.raises(AttributeError, match="record_video"):
            attempt.record_video(b"mp4")
        recorder.write_events([attempt.take(completed=True)])
    assert board.calls == [(("q", "1.0"), "screenshot", b"png")]


def test_what_was_recorded_is_a_snapshot_whatever_it_is() -> None:
    class Local:
        def __repr__(self) -> str:
            return "<local>"

    class Unreadable(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__("two")

    data = {"list": [1]}
    board = Board()
    with as_transactional(board) as recorder:
        attempt = recorder.encoder().attempt("q", "1.0")
        attempt.record_extra(data)
        data["list"].append(2)
        attempt.record_extra({"local": [Local()], "lock": 1})
        attempt.record_error("odd", Unreadable(1, 2))
        recorder.write_events([attempt.take(completed=True)])
    assert board.calls[0][2] == {"list": [1]}
    assert board.calls[1][2] == {"local": ["<local>"], "lock": 1}
    assert "Unreadable" in board.calls[2][3]


def test_nested_ids_reach_the_recorder() -> None:
    board = Board()
    with as_transactional(board) as recorder:
        attempt = recorder.encoder().attempt("q", "1.0")
        attempt.record_extra(1)
        with attempt.as_default_recorder("inner", "2.0"):
            get_recorder().record_extra(2)
        attempt.record_extra(3)
        recorder.write_events([attempt.take(completed=True)])
    assert [(call[0], call[2]) for call in board.calls] == [
        (("q", "1.0"), 1),
        (("inner", "2.0"), 2),
        (("q", "1.0"), 3),
    ]


def test_urls_reach_executors() -> None:
    with as_transactional(Board()) as recorder:
        attempt = recorder.encoder().attempt("q", "1.0")
        assert attempt.evalboard_url("monitor") == "https://boards.example/monitor"


def test_a_raising_recorder_is_reported_once_and_misses_only_what_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Picky(Board):
        def record_match(self, correct: bool, **extra: Any) -> None:
            raise ConnectionError("board is down")

        def record_final_report(self, final_report: Any) -> None:
            raise ConnectionError("still down")

    board = Picky()
    with caplog.at_level(logging.ERROR), as_transactional(board) as recorder:
        for _ in range(3):
            recorder.write_events([taken(recorder)])
        recorder.record_final_report({})
        assert recorder.position() == "3"
    assert [call[1] for call in board.calls] == ["sampling", "completed", "error"] * 3
    first, total = caplog.records
    assert "Picky failed in record_match: ConnectionError: board is down" in first.getMessage()
    assert "4 calls failed in all" in total.getMessage()


def test_a_hanging_recorder_is_given_up_and_the_caller_goes_on() -> None:
    never = threading.Event()

    class Stuck(Board):
        def record_match(self, correct: bool, **extra: Any) -> None:
            never.wait()

    with ThirdPartyRecorder(Stuck(), stall_timeout=0.5) as recorder:
        chunk = taken(recorder)
        with pytest.raises(RecorderError, match="Stuck hangs"):
            recorder.write_events([chunk])
        assert recorder.position() == ""
        with pytest.raises(RecorderError, match="Stuck hangs"):
            recorder.write_events([chunk])
        recorder.record_final_report({})
        assert recorder.evalboard_url("run") is None
    never.set()


def test_a_recorder_whose_calls_all_time_out_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """Each call is shorter than a stall; together they would hold up the run's end for hours."""
    now = [0.0]

    class Away(Board):
        def note(self, *call: Any) -> None:
            super().note(*call)
            now[0] += 4.0
            raise TimeoutError("no answer")

    board = Away()
    recorder = ThirdPartyRecorder(board, stall_timeout=10.0, clock=lambda: now[0])
    with caplog.at_level(logging.ERROR), recorder:
        with pytest.raises(RecorderError, match="Away has only failed, for 12 s"):
            recorder.write_events([taken(recorder), taken(recorder)])
        with pytest.raises(RecorderError, match="Away has only failed"):
            recorder.write_events([taken(recorder)])
        recorder.record_final_report({})
    assert len(board.calls) == 3


def test_a_recorder_that_often_fails_slowly_gets_all_as_long_as_some_succeeds() -> None:
    now = [0.0]

    class Flaky(Board):
        def record_match(self, correct: bool, **extra: Any) -> None:
            now[0] += 9.0
            raise TimeoutError("no answer")

    board = Flaky()
    with ThirdPartyRecorder(board, stall_timeout=10.0, clock=lambda: now[0]) as recorder:
        recorder.write_events([taken(recorder)] * 5)
    assert [call[1] for call in board.calls] == ["sampling", "completed", "error"] * 5


def test_a_slow_recorder_that_makes_progress_is_not_given_up() -> None:
    """Together its calls take longer than a single one may."""
    wait = threading.Event()

    class Slow(Board):
        def note(self, *call: Any) -> None:
            wait.wait(0.1)
            super().note(*call)

    board = Slow()
    with ThirdPartyRecorder(board, stall_timeout=3) as recorder:
        recorder.write_events([b"".join([taken(recorder)] * 10)])
    assert len(board.calls) == 40


def test_a_recorder_that_cannot_be_entered_is_an_error_before_anything_runs() -> None:
    class Shut(Board):
        def __enter__(self) -> Self:
            raise PermissionError("no access")

    with pytest.raises(RecorderError, match="Shut cannot be entered: PermissionError: no access"):
        as_transactional(Shut()).__enter__()


def test_without_a_runner_calls_arrive_when_they_are_made() -> None:
    board = Board()
    with as_transactional(board) as recorder:
        recorder.record_extra(1)
        with recorder.as_default_recorder("q", "1.0"):
            get_recorder().record_match(True)
        assert board.calls == [(None, "extra", 1), (("q", "1.0"), "match", True, {})]


def test_ids_that_cannot_travel_are_reduced_to_what_can() -> None:
    board = Board()
    board.run_spec = copy.copy(board.run_spec)
    object.__setattr__(board.run_spec, "connection", threading.Lock())
    with as_transactional(board) as recorder:
        attempt = pickle.loads(pickle.dumps(recorder.encoder())).attempt("q", "1.0")
    assert (attempt.run_spec.run_id, attempt.run_spec.run_set_id) == ("r", "s")
