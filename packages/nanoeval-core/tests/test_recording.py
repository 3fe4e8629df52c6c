"""A recorder of one's own, from the base class."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from nanoeval_core.recorder import get_recorder
from nanoeval_core.recorder_adapter import ThirdPartyRecorder
from nanoeval_core.recorder_protocol import BasicRunSpec, RecorderProtocol, using_run_spec
from nanoeval_core.recording import BaseRecorder


class Board(BaseRecorder):
    def __init__(self, run_spec: BasicRunSpec | None = None) -> None:
        super().__init__(run_spec)
        self.events: list[tuple[Any, ...]] = []

    def record_event(self, event_type: str, data: Any) -> None:
        ids = (self.current_sample_id(), self.current_group_id())
        self.events.append((*ids, event_type, data))


def test_every_method_of_the_protocol_becomes_an_event() -> None:
    board = Board(BasicRunSpec(run_id="r", run_set_id="s"))
    assert isinstance(board, RecorderProtocol)
    with board:
        board.record_match(True, expected="A", picked="B", subject="physics")
        board.record_match(False, prob_correct=0.25)
        board.record_sampling("p", ["s"], extra_allowed_metadata_fields=["x"], model="m")
        board.record_sample_completed(n=1)
        board.record_error("bad", ValueError("x"), attempt=3)
        board.record_error("bad", None)
        board.record_extra([1, 2])
        board.record_final_report({"accuracy": 1.0})
    error = {"type": "ValueError", "message": "x", "msg": "bad", "attempt": 3}
    assert [event[2:] for event in board.events] == [
        ("match", {"correct": True, "expected": "A", "picked": "B", "subject": "physics"}),
        ("match", {"correct": False, "expected": None, "picked": None, "prob_correct": 0.25}),
        ("sampling", {"prompt": "p", "sampled": ["s"], "model": "m"}),
        ("sample_completed", {"n": 1}),
        ("error", error),
        ("error", {"type": None, "message": "bad", "msg": "bad"}),
        ("extra", [1, 2]),
        ("final_report", {"accuracy": 1.0}),
    ]
    assert board.evalboard_url("run") is None


def test_ids_are_those_of_the_task_that_records() -> None:
    board = Board()
    turns = [asyncio.Event(), asyncio.Event()]

    async def task(number: int) -> None:
        with board.as_default_recorder(f"q{number}", f"{number}.0"):
            turns[number].set()
            await turns[1 - number].wait()
            assert get_recorder() is board
            get_recorder().record_extra(number)

    async def both() -> None:
        await asyncio.gather(task(0), task(1))

    asyncio.run(both())
    assert sorted(board.events) == [("q0", "0.0", "extra", 0), ("q1", "1.0", "extra", 1)]
    assert board.current_sample_id() is None


def test_ids_end_with_what_raises() -> None:
    board = Board()
    with pytest.raises(KeyError), board.as_default_recorder("q", "1.0"):
        raise KeyError
    assert (board.current_sample_id(), board.current_group_id()) == (None, None)


def test_the_run_is_that_which_is_being_set_up() -> None:
    spec = BasicRunSpec(run_id="r7", run_set_id="s7")
    with using_run_spec(spec):
        assert Board().run_spec is spec
    assert Board().run_spec.run_id == "none"


def test_what_attempts_record_arrives_in_the_driver_with_its_ids() -> None:
    board = Board()
    recorder = ThirdPartyRecorder(board)
    with recorder:
        attempt = pickle.loads(pickle.dumps(recorder.encoder())).attempt("q", "1.0")
        attempt.record_match(True, expected="A")
        attempt.record_event("screenshot", b"pixels")  # an event type of one's own
        recorder.write_events([attempt.take(completed=True)])
    match = {"correct": True, "expected": "A", "picked": None}
    assert board.events == [("q", "1.0", "match", match), ("q", "1.0", "screenshot", b"pixels")]
