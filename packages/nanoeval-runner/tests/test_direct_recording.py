"""Events of the driver's own executor are in the record when their results are committed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from nanoeval import resume, run
from nanoeval.errors import StateError
from nanoeval_recorder import evallib_recorder, read
from nanoeval_recorder.reading.events import Match
from nanoeval_runner import _eval_run
from nanoeval_runner._queue import event_log, transactions
from nanoeval_runner.state_files import read_state_file, state_file

from tests.support.recorded_eval import make_spec


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NANOEVAL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("NANOEVAL_LOG_DIR", str(tmp_path / "records"))
    return tmp_path


def assert_whole(folder: Path, n: int) -> None:
    (path,) = (folder / "records").iterdir()
    events = list(read(path))
    matches = Counter((e.sample_id, e.get("part")) for e in events if isinstance(e, Match))
    assert matches == {(f"q{i}", part): 1 for i in range(n) for part in (1, 2)}
    numbers = [e.event_id for e in events[1:-1]]
    assert numbers == list(range(len(numbers)))


def count_logged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events each read of the log gave."""
    logged: list[int] = []
    real = event_log.read_events

    def read_events(*arguments: Any) -> tuple[int, list[bytes]]:
        found = real(*arguments)
        logged.append(len(found[1]))
        return found

    monkeypatch.setattr(event_log, "read_events", read_events)
    return logged


def test_events_do_not_go_through_the_state_file(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = count_logged(monkeypatch)
    asyncio.run(run(make_spec(evallib_recorder(), n=200)))
    assert_whole(folders, 200)
    assert sum(logged) == 0


def test_a_transaction_that_fails_takes_its_events_back(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit fails once, after the events were written; resuming writes them, once."""
    real = transactions.exchange
    failed: list[int] = []

    def exchange(connection: sqlite3.Connection, request: Any, before_commit: Any, *more: Any):
        def fail(completions: Any) -> Any:
            positions = before_commit(completions)
            (record,) = (folders / "records").iterdir()
            if positions and not failed:
                failed.append(1)
                assert any(isinstance(e, Match) for e in read(record))
                raise sqlite3.OperationalError("database or disk is full")
            return positions

        return real(connection, request, fail, *more)

    monkeypatch.setattr(transactions, "exchange", exchange)
    spec = make_spec(evallib_recorder(), n=50, runner={"run_set_id": "full"})
    with pytest.raises(StateError, match="make room there"):
        asyncio.run(run(spec))
    assert failed
    (record,) = (folders / "records").iterdir()
    assert not any(isinstance(e, Match) for e in read(record))
    asyncio.run(run(spec))
    assert_whole(folders, 50)


def test_a_record_that_is_slow_to_write_no_longer_keeps_results_waiting(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = count_logged(monkeypatch)
    monkeypatch.setattr(_eval_run, "SLOW_WRITE", -1.0)
    asyncio.run(run(make_spec(evallib_recorder(), n=200, runner={"concurrency": 8})))
    assert_whole(folders, 200)
    assert sum(logged) > 0


def test_a_write_that_fails_is_logged_and_written_when_it_can_be(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    real = os.pwritev
    writes: list[int] = []

    def pwritev(fd: int, data: Any, offset: int) -> int:
        writes.append(offset)
        if len(writes) == 2:  # the first events, after the header
            raise OSError(28, "No space left on device")
        return real(fd, data, offset)

    logged = count_logged(monkeypatch)
    monkeypatch.setattr(os, "pwritev", pwritev)
    summary = asyncio.run(run(make_spec(evallib_recorder(), n=100, runner={"concurrency": 4})))
    assert summary["n"] == 100
    assert_whole(folders, 100)
    assert sum(logged) == 100


def test_resuming_a_run_that_is_done_writes_what_its_recorder_could_not(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    real = os.pwritev

    def pwritev(fd: int, data: Any, offset: int) -> int:
        if offset:
            raise OSError(28, "No space left on device")
        return real(fd, data, offset)

    spec = make_spec(evallib_recorder(), n=50, runner={"run_set_id": "full"})
    with monkeypatch.context() as full_disk:
        full_disk.setattr(os, "pwritev", pwritev)
        before = asyncio.run(run(spec))
    path = state_file("full")
    assert not read_state_file(path).is_complete
    (after,) = asyncio.run(resume("full"))
    assert after["num_tasks"] == before["num_tasks"] == 50
    assert_whole(folders, 50)
    assert read_state_file(path).is_complete
