"""Executors of an engine that nanoeval knows only by its entry point: the same guarantees."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.errors import ConfigError
from nanoeval_core.executors import executor_names
from nanoeval_runner.command_line import from_command_line

from benchmarks.driver_capacity import measure
from tests.support.killed_runs import ROOT, KilledRun, kill, until_gone
from tests.support.recorded_eval import RecordedEval
from tests.support.toy_engine import ToyExecutors

ENGINE = ROOT / "tests/support/toy_engine.py"
LINES = 150


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path that registers the engine, as installing its package would."""
    folder = tmp_path / "site"
    metadata = folder / "toy_engine-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-engine\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[nanoeval.executors]\ntoy = tests.support.toy_engine:ToyExecutors\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))
    return tmp_path


def pool(**more: object) -> dict[str, object]:
    return {"executor": "toy", "num_processes": 2, **more}


def test_an_engine_takes_few_lines() -> None:
    assert len(ENGINE.read_text("utf-8").splitlines()) < LINES


def test_it_is_chosen_by_name_with_options_of_its_own(installed: Path) -> None:
    assert "toy" in executor_names()

    def main(runner: RunnerArgs) -> RunnerArgs:
        return runner

    arguments = ["runner.executor=toy", "runner.executor.niceness=3", "runner.num_processes=4"]
    runner = from_command_line(main, arguments)
    assert runner.executor == ToyExecutors(niceness=3)
    assert (runner.executor_name, runner.num_processes) == ("toy", 4)
    with pytest.raises(ConfigError, match=r"runner\.executor\.nicenes"):
        from_command_line(main, ["runner.executor=toy", "runner.executor.nicenes=3"])


def test_one_that_is_not_installed_is_refused_by_name() -> None:
    spec = EvalSpec(eval=RecordedEval(), runner=RunnerArgs(executor="nobody"))
    with pytest.raises(ConfigError, match="'nobody': no such executor is installed, choose one of"):
        asyncio.run(run(spec))
    with pytest.raises(ConfigError, match=r"RunnerArgs\.executor=3"):
        RunnerArgs(executor=3)  # type: ignore[arg-type]


def test_many_executors_share_one_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOEVAL_STATE_DIR", str(tmp_path))
    tally = asyncio.run(measure(executors=40, batch=4, n=2000))  # it asserts that all are done
    assert tally.exchanges >= 2000 / 4
    assert tally.messages >= tally.exchanges


def test_killed_executors_are_replaced_and_nothing_is_lost_or_done_twice(installed: Path) -> None:
    killed = KilledRun(installed, runner=pool(), n=30, hold_after=10)
    with killed.started() as driver:
        killed.until(lambda: killed.noted() >= 10 and len(killed.executors()) == 2, driver)
        killed.until(lambda: len(killed.done()) >= 10, driver)
        before = killed.finish_after_killing_executors(driver)
    states = dict(killed.query("SELECT name, state FROM executor"))
    assert {states.pop(name) for name in before} == {"dead"}
    assert set(states.values()) == {"stopped"}
    assert "died: exit code -9" in killed.stderr
    listed = subprocess.run(
        [sys.executable, "-m", "nanoeval", "ls", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env=killed.env,
    )
    assert [run["hosts"] for run in json.loads(listed.stdout)] == [[socket.gethostname()]]


def test_a_killed_driver_leaves_no_executor_and_is_resumed(installed: Path) -> None:
    killed = KilledRun(installed, runner=pool(), n=30, hold_after=10)
    with killed.started() as driver:
        killed.until(lambda: len(killed.done()) >= 10 and len(killed.executors()) == 2, driver)
        before, done = killed.executors(), killed.done()
        kill(driver.pid)
    until_gone(before.values())
    killed.let_go()
    with killed.started() as driver:
        output, _ = driver.communicate()
        assert driver.returncode == 0, killed.stderr
    killed.assert_whole(output, done)
