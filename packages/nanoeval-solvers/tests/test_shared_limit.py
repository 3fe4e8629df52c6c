"""Processes that share one limit, in a real file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from nanoeval_solvers._api.limiter import PRESENCE, SharedFile, deal


def attend(file: SharedFile, now: float, *, waiting: int, in_flight: int = 0) -> int:
    with file.exclusive() as shared:
        assert shared is not None
        share = shared.attend(file.name, now, in_flight=in_flight, waiting=waiting, window=10)
        return share.window


def test_a_process_alone_gets_everything(tmp_path: Path) -> None:
    file = SharedFile(tmp_path / "limits")
    assert attend(file, 0.0, waiting=100) == 10
    file.close()


def test_shares_follow_demand_and_never_add_up_to_more(tmp_path: Path) -> None:
    one, two = SharedFile(tmp_path / "limits"), SharedFile(tmp_path / "limits")
    assert attend(one, 0.0, waiting=100) == 10
    assert attend(two, 0.0, waiting=100) == 0  # all of it is in use
    assert attend(one, 0.1, waiting=93, in_flight=7) == 7  # it cannot give back what is in flight
    assert attend(two, 0.1, waiting=100) == 3
    assert attend(one, 0.2, waiting=95, in_flight=5) == 5
    assert attend(two, 0.2, waiting=97, in_flight=3) == 5
    assert attend(one, 0.3, waiting=0) == 0
    assert attend(two, 0.3, waiting=100, in_flight=5) == 10
    one.close()
    two.close()


def test_who_asks_for_nothing_keeps_nothing(tmp_path: Path) -> None:
    one, two = SharedFile(tmp_path / "limits"), SharedFile(tmp_path / "limits")
    assert attend(two, 0.0, waiting=1) == 10
    assert attend(two, 0.0, waiting=0) == 0
    assert attend(one, 0.0, waiting=1) == 10
    one.close()
    two.close()


def test_who_is_killed_is_forgotten_and_locks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "limits"
    script = f"""
import sys, time
from pathlib import Path
from nanoeval_solvers._api.limiter import SharedFile
file = SharedFile(Path({str(path)!r}))
with file.exclusive() as shared:
    shared.attend(file.name, 100.0, in_flight=8, waiting=0, window=10)
with file.exclusive() as shared:
    print("in", flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"in\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    file = SharedFile(path)
    assert attend(file, 101.0, waiting=50) == 0
    assert attend(file, 101.0 + PRESENCE, waiting=50) == 10
    file.close()


def test_a_lock_held_by_another_does_not_block(tmp_path: Path) -> None:
    one, two = SharedFile(tmp_path / "limits"), SharedFile(tmp_path / "limits")
    with one.exclusive() as mine:
        assert mine is not None
        with two.exclusive() as also:
            assert also is None
    with two.exclusive() as mine:
        assert mine is not None
    one.close()
    two.close()


def test_what_is_left_by_others_can_be_used_by_a_newcomer(tmp_path: Path) -> None:
    one = SharedFile(tmp_path / "limits")
    attend(one, 0.0, waiting=10)
    one.close()
    two = SharedFile(tmp_path / "limits")
    assert attend(two, 0.0, waiting=10) == 10
    two.close()


@given(
    window=st.floats(0, 5000),
    demand=st.lists(st.integers(0, 4096), min_size=1, max_size=30),
    turn=st.integers(0, 100),
)
def test_what_is_dealt_is_the_window(window: float, demand: list[int], turn: int) -> None:
    floats = [float(one) for one in demand]
    dealt = [deal(window, floats, mine, turn=turn) for mine in range(len(demand))]
    if sum(demand) and len(demand) > 1:
        assert sum(dealt) == int(window)
        assert all(not got or wanted for got, wanted in zip(dealt, demand, strict=True))
    else:
        assert dealt[0] == int(window)
