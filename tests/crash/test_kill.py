"""`kill -9`, at many points: nothing is lost, nothing is done twice, nothing is left running."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.gates import MODES, POOL, Gate
from tests.support.processes import RUN_SET, gated_run, matches, query, until

both_modes = pytest.mark.parametrize("runner", MODES.values(), ids=MODES)
pytestmark = pytest.mark.timeout(180)  # each starts several processes
N = 6
NAMES = [f"q{i}.1" for i in range(N)]


def resumed(gate: Gate, folder: Path, how: str, config: dict[str, Any]) -> dict[str, Any]:
    """Finish the run set in a new process, in one of the ways there are."""
    gate.open_for_all()
    with gated_run(gate, folder, **({"resume": RUN_SET} if how == "resume" else config)) as process:
        (summary,) = process.summaries()
        process.assert_nothing_is_left()
    return summary


# --- executors


@pytest.mark.parametrize("killed", ["running", "half done"])
def test_tasks_of_a_killed_executor_run_elsewhere_and_finished_ones_do_not(
    killed: str, tmp_path: Path
) -> None:
    with (
        Gate() as gate,
        gated_run(gate, tmp_path, runner=POOL, evals=[{"n": N}]) as process,
    ):
        first = gate.arrivals(N)
        finished = []
        if killed == "half done":
            for arrival in first[:3]:
                arrival.answer()
                finished.append(arrival.task)
            # Their results are committed when the file says so; the next look is another's.
            until(tmp_path, "SELECT count(*) FROM task WHERE state = 'done'", [3])
        victim = first[-1].pid
        lost = [a for a in first[len(finished) :] if a.pid == victim]
        psutil.Process(victim).send_signal(signal.SIGKILL)
        again = gate.arrivals(len(lost))
        assert sorted(a.task for a in again) == sorted(a.task for a in lost)
        assert victim not in {a.pid for a in again}
        for arrival in [*again, *(a for a in first[len(finished) :] if a.pid != victim)]:
            arrival.answer()
        (summary,) = process.summaries()
        assert summary["names"] == NAMES
        assert summary["is_valid"]
        assert all(gate.times()[task] == 1 for task in finished)
        process.assert_nothing_is_left()
    assert matches(tmp_path) == dict.fromkeys(NAMES, 1)


def test_an_executor_killed_while_it_enters_a_context_is_replaced(tmp_path: Path) -> None:
    stages = ["enter", "evaluate"]
    with (
        Gate() as gate,
        gated_run(gate, tmp_path, runner=POOL, evals=[{"n": N, "stages": stages}]) as process,
    ):
        entering = gate.arrivals(2)
        assert {a.stage for a in entering} == {"enter"}
        psutil.Process(entering[0].pid).send_signal(signal.SIGKILL)
        entering[1].answer()
        gate.open_for_all()
        (summary,) = process.summaries()
        assert summary["names"] == NAMES
        process.assert_nothing_is_left()


def test_executors_whose_common_parent_is_killed_are_replaced(tmp_path: Path) -> None:
    with Gate() as gate, gated_run(gate, tmp_path, runner=POOL, evals=[{"n": N}]) as process:
        first = gate.arrivals(N)
        parents = {psutil.Process(arrival.pid).parent() for arrival in first}
        for parent in parents:
            assert parent is not None
            if parent.pid != process.pid:  # where they are forked from a process of their own
                parent.kill()
            else:
                for arrival in first:
                    psutil.Process(arrival.pid).kill()
        again = gate.arrivals(N)
        assert {a.pid for a in again}.isdisjoint({a.pid for a in first})
        for arrival in again:
            arrival.answer()
        (summary,) = process.summaries()
        assert summary["names"] == NAMES
        process.assert_nothing_is_left()


def test_an_idle_executor_that_is_killed_costs_nothing(tmp_path: Path) -> None:
    with Gate() as gate, gated_run(gate, tmp_path, runner=POOL, evals=[{"n": 1}]) as process:
        (only,) = gate.arrivals(1)
        until(tmp_path, "SELECT count(*) FROM executor WHERE pid > 0", [2])
        (idle,) = [p for p in process.executors() if p.pid != only.pid]
        idle.kill()
        only.answer()
        (summary,) = process.summaries()
        assert summary["n"] == 1
        assert gate.times() == {"q0.1": 1}


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_task_that_kills_its_process_ends_as_a_system_error_and_the_others_finish(
    num_processes: int, tmp_path: Path
) -> None:
    """The others run beside it each time, for longer than it does: they must not take the blame."""
    runner = {**POOL, "num_processes": num_processes}
    with Gate() as gate, gated_run(gate, tmp_path, runner=runner, evals=[{"n": N}]) as process:
        waiting = []
        while gate.times().get("q0.1", 0) < 4:
            arrival = gate.arrival()
            if arrival.task != "q0.1":
                waiting.append(arrival)
                continue
            arrival.answer("die")
            arrival.wait_until_gone()
        gate.open_for_all()
        for arrival in waiting:
            with contextlib.suppress(OSError):
                arrival.answer()
        (summary,) = process.summaries()
        assert gate.times()["q0.1"] == 4
    assert summary["names"] == NAMES[1:]
    assert not summary["is_valid"]
    (lost,) = query(tmp_path, "SELECT question_id FROM task WHERE state = 'failed'")
    assert lost == "q0"


def test_an_executor_that_is_stopped_and_wakes_up_again_leaves_no_trace(tmp_path: Path) -> None:
    """SIGSTOP: it says nothing until its lease runs out, which the test brings about at once."""
    with Gate() as gate, gated_run(gate, tmp_path, runner=POOL, evals=[{"n": N}]) as process:
        first = gate.arrivals(N)
        victim = psutil.Process(first[0].pid)
        victim.suspend()
        lost = [a for a in first if a.pid == victim.pid]
        for arrival in lost:
            arrival.answer()  # they finish when it wakes up: too late
        query(tmp_path, f"UPDATE executor SET lease_until = 0 WHERE pid = {victim.pid}")
        again = gate.arrivals(len(lost))
        assert sorted(a.task for a in again) == sorted(a.task for a in lost)
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have been killed by now
            victim.resume()
        for arrival in [*again, *(a for a in first if a.pid != victim.pid)]:
            arrival.answer()
        (summary,) = process.summaries()
        assert summary["names"] == NAMES
        process.assert_nothing_is_left()
    assert matches(tmp_path) == dict.fromkeys(NAMES, 1)


def test_a_stopped_executor_that_was_the_only_one_is_replaced(tmp_path: Path) -> None:
    runner = {**POOL, "num_processes": 1}
    with Gate() as gate, gated_run(gate, tmp_path, runner=runner, evals=[{"n": 2}]) as process:
        first = gate.arrivals(2)
        psutil.Process(first[0].pid).suspend()
        query(tmp_path, f"UPDATE executor SET lease_until = 0 WHERE pid = {first[0].pid}")
        again = gate.arrivals(2)
        assert {a.pid for a in again}.isdisjoint({first[0].pid})
        for arrival in again:
            arrival.answer()
        (summary,) = process.summaries()
        assert summary["n"] == 2
        process.assert_nothing_is_left()


# --- the main process


@pytest.mark.parametrize(
    ("point", "how", "mode"),
    [
        ("tasks", "same command", "in_process"),
        ("tasks", "same command", "pooled"),
        ("enter", "resume", "pooled"),
        ("running", "same command", "in_process"),
        ("running", "resume", "pooled"),
        ("half done", "resume", "in_process"),
        ("half done", "same command", "pooled"),
        ("summary", "resume", "in_process"),
        ("summary", "same command", "pooled"),
    ],
)
def test_a_killed_run_leaves_no_process_and_is_finished_by_another(
    point: str, how: str, mode: str, tmp_path: Path
) -> None:
    stages = {"tasks": ["tasks"], "enter": ["enter"], "summary": ["evaluate", "summary"]}
    config: dict[str, Any] = {
        "runner": MODES[mode],
        "evals": [{"n": N, "stages": stages.get(point, ["evaluate"])}],
    }
    finished: list[str] = []
    with Gate() as gate:
        with gated_run(gate, tmp_path, **config) as process:
            if point in ("tasks", "enter"):
                gate.arrival()
            elif point == "summary":
                finished = [a.task for a in gate.answer_all(N)]
                assert gate.arrival().stage == "summary"
            else:
                first = gate.arrivals(N)
                if point == "half done":
                    for arrival in first[::2]:
                        arrival.answer()
                        finished.append(arrival.task)
                    until(tmp_path, "SELECT count(*) FROM task WHERE state = 'done'", [3])
            process.kill()
            process.assert_nothing_is_left()
        gate.forget()
        summary = resumed(gate, tmp_path, how, config)
        if "evaluate" in config["evals"][0]["stages"]:
            assert gate.times() == dict.fromkeys(sorted(set(NAMES) - set(finished)), 1)
    assert summary["names"] == NAMES
    assert matches(tmp_path) == dict.fromkeys(NAMES, 1)
    assert query(tmp_path, "SELECT count(*) FROM task") == [N]


@both_modes
def test_a_run_that_is_killed_again_and_again_gets_done(
    runner: dict[str, Any], tmp_path: Path
) -> None:
    """Each of two lives finishes one task, and the third the rest."""
    config: dict[str, Any] = {"runner": runner | {"concurrency": 2}, "evals": [{"n": N}]}
    with Gate() as gate:
        for life in (1, 2):
            with gated_run(gate, tmp_path, **config) as process:
                first, second = gate.arrivals(2)
                first.answer()
                gate.arrival()  # takes the place of the first, whose result is committed
                until(tmp_path, "SELECT count(*) FROM task WHERE state = 'done'", [life])
                process.kill()
                process.assert_nothing_is_left()
                second.wait_until_gone()
        gate.forget()
        summary = resumed(gate, tmp_path, "same command", config)
        assert len(gate.times()) == N - 2
    assert summary["names"] == NAMES
    assert matches(tmp_path) == dict.fromkeys(NAMES, 1)


def test_an_executor_that_never_lets_go_of_the_interpreter_dies_with_the_main_process(
    tmp_path: Path,
) -> None:
    with Gate() as gate, gated_run(gate, tmp_path, runner=POOL, evals=[{"n": 2}]) as process:
        first = gate.arrivals(2)
        for arrival in {a.pid: a for a in first}.values():
            arrival.answer("spin")
        process.kill()
        process.assert_nothing_is_left()
