"""Ctrl-C and SIGTERM, as a terminal sends them: what is in flight finishes, nothing is left."""

from __future__ import annotations

import json
import os
import signal
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.support.gates import MODES, Gate
from tests.support.processes import RUN_SET, RunProcess, gated_run, query, until

pytestmark = pytest.mark.timeout(180)  # each starts several processes
both_modes = pytest.mark.parametrize("runner", MODES.values(), ids=MODES)
HINT = f"nanoeval resume {RUN_SET}"
DRAINING = "SELECT draining FROM eval"


@both_modes
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_lets_tasks_in_flight_finish(
    number: signal.Signals, code: int, runner: dict[str, Any], tmp_path: Path
) -> None:
    limited = runner | {"concurrency": 3}
    with Gate() as gate, gated_run(gate, tmp_path, runner=limited, evals=[{"n": 9}]) as process:
        first = gate.arrivals(3)
        process.remember_family()
        if number == signal.SIGINT:
            process.interrupt()
        else:
            os.kill(process.pid, number)
        until(tmp_path, DRAINING, [1])
        for arrival in first:
            arrival.answer()
        ended, _, err = process.end()
        assert ended == code
        assert HINT in err
        assert "3 of 9" in err
        assert len(gate.seen) == 3
        process.assert_nothing_is_left()
    states = "SELECT state, count(*) FROM task GROUP BY state ORDER BY state"
    assert query(tmp_path, states) == [("done", 3), ("queued", 6)]
    (summary,) = query(tmp_path, "SELECT summary FROM eval WHERE state = 'stopped'")
    assert '"n": 3' in summary
    assert '"partial": true' in summary


@both_modes
def test_the_second_ctrl_c_stops_at_once(runner: dict[str, Any], tmp_path: Path) -> None:
    with Gate() as gate, gated_run(gate, tmp_path, runner=runner, evals=[{"n": 4}]) as process:
        gate.arrivals(4)  # they stand there for ever
        process.interrupt()
        until(tmp_path, DRAINING, [1])
        process.interrupt()
        ended, _, err = process.end()
        assert ended == 130
        assert HINT in err
        process.assert_nothing_is_left()


@both_modes
@pytest.mark.parametrize("stage", ["tasks", "summary"])
def test_ctrl_c_while_tasks_are_listed_or_summed_up_ends_the_run(
    stage: str, runner: dict[str, Any], tmp_path: Path
) -> None:
    evals = [{"n": 2, "stages": [stage]}]
    with Gate() as gate, gated_run(gate, tmp_path, runner=runner, evals=evals) as process:
        assert gate.arrival().stage == stage
        process.interrupt()
        ended, _, err = process.end()
        assert ended == 130
        if stage == "summary":
            assert HINT in err
        process.assert_nothing_is_left()


def test_ctrl_c_ends_every_gathered_eval(tmp_path: Path) -> None:
    evals = [{"n": 2, "name": "one"}, {"n": 2, "name": "two"}]
    with Gate() as gate, gated_run(gate, tmp_path, evals=evals) as process:
        first = gate.arrivals(4)
        process.interrupt()
        until(tmp_path, DRAINING, [1, 1])
        for arrival in first[:3]:
            arrival.answer()
        process.interrupt()
        assert process.end()[0] == 130
        process.assert_nothing_is_left()


def test_tasks_that_outlive_the_grace_period_go_back_to_the_queue(tmp_path: Path) -> None:
    runner = {"shutdown_grace": 0.05}
    with Gate() as gate, gated_run(gate, tmp_path, runner=runner, evals=[{"n": 2}]) as process:
        gate.arrivals(2)
        process.interrupt()
        ended, _, err = process.end()
        assert ended == 130
        assert "0 of 2" in err
    assert query(tmp_path, "SELECT DISTINCT state FROM task") == ["queued"]
    assert query(tmp_path, "SELECT leased FROM eval") == [0]


@both_modes
def test_ctrl_c_on_uvloop(runner: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("uvloop", reason="uvloop is not here: pip install uvloop")
    limited = runner | {"concurrency": 2}
    with (
        Gate() as gate,
        gated_run(gate, tmp_path, runner=limited, evals=[{"n": 4}], uvloop=True) as process,
    ):
        first = gate.arrivals(2)
        process.interrupt()
        until(tmp_path, DRAINING, [1])
        for arrival in first:
            arrival.answer("loop")
        ended, _, err = process.end()
        assert ended == 130, err
        assert HINT in err
        assert "2 of 4" in err
        process.assert_nothing_is_left()
    (summary,) = query(tmp_path, "SELECT summary FROM eval WHERE state = 'stopped'")
    assert json.loads(summary)["results"] == ["uvloop", "uvloop"]


def test_ctrl_c_under_python_m(tmp_path: Path) -> None:
    runner = MODES["pooled"]
    with (
        Gate() as gate,
        gated_run(gate, tmp_path, module=True, runner=runner, evals=[{"n": 2}]) as process,
    ):
        first = gate.arrivals(2)
        process.interrupt()
        until(tmp_path, DRAINING, [1])
        first[0].answer()
        process.interrupt()
        assert process.end()[0] == 130
        process.assert_nothing_is_left()


def test_ctrl_c_under_pytest_ends_it_with_nothing_left(tmp_path: Path) -> None:
    with Gate() as gate:
        test = tmp_path / "test_user.py"
        test.write_text(
            textwrap.dedent(f"""
                import asyncio
                from nanoeval import run
                from tests.support.gates import POOL, spec

                def test_user():
                    asyncio.run(run(spec({gate.path!r}, n=2, runner=POOL)))
            """)
        )
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)]
        process = RunProcess(command, tmp_path)
        try:
            gate.arrivals(2)
            process.interrupt()
            (state,) = (tmp_path / "state").glob("*.db")
            until(tmp_path, DRAINING, [1], state.stem)
            process.interrupt()
            ended, out, _ = process.end()
            assert ended == 2  # pytest's code for an interruption
            assert "KeyboardInterrupt" in out
            process.assert_nothing_is_left()
        finally:
            process.clean_up()
