"""Large events pass through files of their own: none is lost or written twice."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from nanoeval_runner._queue import backup

from tests.support.killed_runs import RUN_SET, KilledRun, kill, until_gone

MEMORY = Path("/dev/shm")
N = 240
HELD = 40  # of them, until they are let go
POOL = {"experimental_use_multiprocessing": True, "num_processes": 2, "concurrency": 4}
IN_FILES = "SELECT seq FROM event_log WHERE length(events) = 0"

pytestmark = [
    pytest.mark.skipif(not os.access(MEMORY, os.W_OK), reason="needs a memory file system"),
    pytest.mark.timeout(180),
]


@pytest.fixture
def killed() -> Iterator[KilledRun]:
    """A run whose samplings are 30 kB, with its state in memory."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield KilledRun(
            Path(folder),
            runner={**POOL, "should_backup": False},
            n=N,
            size=5000,
            hold_after=N - HELD,
            begin=f"{folder}/begin",
        )


def event_files(killed: KilledRun) -> list[Path]:
    return list((killed.folder / "state").rglob("*.events"))


def running(killed: KilledRun) -> bool:
    return killed.query("SELECT state FROM eval") == [("running",)]


def begin(killed: KilledRun) -> None:
    (killed.folder / "begin").touch()


def stop(killed: KilledRun, driver: subprocess.Popen[str]) -> None:
    """Stop the driver where it does not hold the turn to write, which executors wait for."""

    def others_can_write() -> bool:
        while psutil.Process(driver.pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.001)
        with (killed.folder / "state" / f"{RUN_SET}.turn").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.kill(driver.pid, signal.SIGCONT)
                return False
        return True

    os.kill(driver.pid, signal.SIGSTOP)
    while not others_can_write():
        os.kill(driver.pid, signal.SIGSTOP)


def stop_with_events_waiting(killed: KilledRun) -> tuple[set[str], dict[str, int]]:
    """Start the run, and stop its driver so that events wait in files; it is killed then."""
    with killed.started() as driver:
        killed.until(lambda: len(killed.executors()) == 2 and running(killed), driver)
        stop(killed, driver)
        begin(killed)
        killed.until(lambda: len(killed.done()) >= N - HELD, driver)
        assert killed.query(IN_FILES)
        found = killed.done(), killed.executors()
        kill(driver.pid)
    return found


def finish(killed: KilledRun, done: set[str]) -> None:
    killed.let_go()
    with killed.started() as driver:
        output, _ = driver.communicate()
        assert driver.returncode == 0, killed.stderr
    killed.assert_whole(output, done)
    assert not event_files(killed)


def test_events_that_wait_when_the_driver_is_killed_are_recorded_by_resuming(
    killed: KilledRun,
) -> None:
    done, executors = stop_with_events_waiting(killed)
    until_gone(executors.values())
    assert event_files(killed)
    finish(killed, done)


def test_a_backup_holds_the_events_themselves(killed: KilledRun) -> None:
    done, executors = stop_with_events_waiting(killed)
    until_gone(executors.values())
    state = killed.folder / "state"
    backup.copy(state / f"{RUN_SET}.db", str(killed.folder / "backups"), sync=False)
    shutil.rmtree(state)  # as on another machine
    finish(killed, done)


def test_events_of_killed_executors_are_recorded(killed: KilledRun) -> None:
    begin(killed)
    with killed.started() as driver:
        killed.until(lambda: len(killed.done()) >= N - HELD, driver)
        killed.finish_after_killing_executors(driver)
    assert not event_files(killed)


def test_the_record_grows_while_a_pool_runs(killed: KilledRun) -> None:
    def recorded() -> int:
        found = list((killed.folder / "records").glob("*.jsonl"))
        return found[0].read_bytes().count(b'"match"') if found else 0

    begin(killed)
    with killed.started() as driver:
        killed.until(lambda: recorded() >= 2 * (N - HELD), driver)  # the others are held
        killed.until(lambda: not killed.query(IN_FILES), driver)
        assert killed.query("SELECT record_position FROM eval")[0][0]
        killed.let_go()
        kill(driver.pid)
    finish(killed, killed.done())


def test_events_that_are_gone_cost_the_record_and_not_the_run(killed: KilledRun) -> None:
    _, executors = stop_with_events_waiting(killed)
    until_gone(executors.values())
    for path in event_files(killed):
        path.unlink()
    killed.let_go()
    with killed.started() as driver:
        output, _ = driver.communicate()
        assert driver.returncode == 0, killed.stderr
    assert f'"n": {N}' in output
    assert f"move the folder {RUN_SET}.shared with it" in killed.stderr
