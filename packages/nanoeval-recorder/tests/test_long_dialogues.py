"""Agents' dialogues in a record: each turn once, whole again for every reader."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from nanoeval_core import get_recorder
from nanoeval_core.recorder import record_file
from nanoeval_core.recorder_adapter import as_transactional
from nanoeval_core.recorder_protocol import BasicRunSpec
from nanoeval_core.recording import BaseRecorder
from nanoeval_recorder import (
    evallib_recorder,
    in_memory_recorder,
    json_recorder,
    read,
    samples,
    tee,
)
from nanoeval_recorder.reading.events import RecordedFile, Sampling

from tests.support.recorder_driver import attempt, build

TURN = 50_000


def agent(turns: int, size: int = TURN) -> tuple[Any, list[list[dict[str, Any]]]]:
    """What an agent records, and the prompts that it did."""
    prompts: list[list[dict[str, Any]]] = []

    def record(r: Any) -> None:
        messages: list[dict[str, Any]] = [{"role": "user", "content": "Mend the test."}]
        for turn in range(turns):
            prompts.append(list(messages))
            reply = f"turn {turn} " + "r" * (size // 2)
            call = {"id": f"c{turn}", "name": "bash", "arguments": {"command": "ls"}}
            r.record_sampling(messages, [reply], tool_calls=[call])
            messages.append({"role": "assistant", "content": reply, "tool_calls": [call]})
            result = f"result {turn} " + "t" * (size // 2)
            messages.append({"role": "tool", "tool_call_id": f"c{turn}", "content": result})

    return record, prompts


def test_600_turns_of_50_kb_are_recorded_once_and_read_back_whole(tmp_path: Path) -> None:
    record, prompts = agent(600)
    with build(evallib_recorder(log_dir=str(tmp_path))) as recorder:
        before = time.process_time()
        chunk = attempt(recorder, record)
        seconds = time.process_time() - before
        recorder.write_events([chunk])
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size <= 2 * 600 * TURN
    # Not a limit on speed: recording every prompt whole would be 9 GB.
    assert seconds < 60
    (sample,) = samples(path)
    assert [sampling.prompt for sampling in sample.samplings] == prompts


@pytest.mark.parametrize("make", [evallib_recorder, json_recorder])
def test_every_format_and_combination_gives_whole_prompts(make: Any, tmp_path: Path) -> None:
    record, prompts = agent(5)
    memory = in_memory_recorder()
    config = tee(make(log_dir=str(tmp_path / "teed")), memory)
    for one in (make(log_dir=str(tmp_path / "alone")), config):
        with build(one) as recorder:
            recorder.write_events([attempt(recorder, record)])
    for events in (read(tmp_path / "alone"), read(tmp_path / "teed"), memory.events):
        found = [event.prompt for event in events if isinstance(event, Sampling)]
        assert found == prompts[-5:]


def test_the_json_format_has_prompts_as_they_were_given(tmp_path: Path) -> None:
    record, prompts = agent(3)
    with build(json_recorder(log_dir=str(tmp_path))) as recorder:
        recorder.write_events([attempt(recorder, record)])
    (path,) = tmp_path.iterdir()
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["prompt"] for line in lines if line["record_type"] == "sampling"] == prompts


def test_a_third_party_gets_whole_prompts() -> None:
    class Board(BaseRecorder):
        def record_event(self, event_type: str, data: Any) -> None:
            got.append(data["prompt"])

    got: list[Any] = []
    record, prompts = agent(5)
    with as_transactional(Board(BasicRunSpec("r", "s"))) as recorder:
        recorder.write_events([attempt(recorder, record)])
    assert got == prompts


def test_attempts_of_one_question_do_not_refer_to_each_other(tmp_path: Path) -> None:
    record, prompts = agent(3)
    with build(evallib_recorder(log_dir=str(tmp_path))) as recorder:
        chunks = [attempt(recorder, record, group_id=f"{n}.0") for n in (1, 2)]
        recorder.write_events(chunks)
    first, second = samples(tmp_path)
    assert [s.prompt for s in first.samplings] == [s.prompt for s in second.samplings]
    assert [s.prompt for s in second.samplings] == prompts[3:]


@pytest.mark.parametrize("make", [evallib_recorder, json_recorder])
def test_a_file_is_kept_once_whatever_attempts_record_it(make: Any, tmp_path: Path) -> None:
    image = bytes(range(256)) * 400
    names = set()

    def record(r: Any) -> None:
        for _ in range(3):
            names.add(record_file(image, "image/png"))
            names.add(get_recorder().record_file("a long result\n" * 9999))  # type: ignore[attr-defined]
            r.record_extra({"screenshot": record_file(image, "image/png")})

    with build(make(log_dir=str(tmp_path))) as recorder:
        recorder.write_events([attempt(recorder, record, sample_id=f"q{n}") for n in range(4)])
        recorder.write_events([attempt(recorder, record, sample_id="q9")])
    files = [event for event in read(tmp_path) if isinstance(event, RecordedFile)]
    assert {f"sha256:{file.sha256}" for file in files} == names
    assert [file.content for file in files] == [image, "a long result\n" * 9999]
    assert files[0].get("media_type") == "image/png"
