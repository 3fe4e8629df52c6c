"""What `nanoeval clean` removes and keeps, and commands about the machines of computer tasks."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.cli.test_commands_in_a_terminal import piped

pytestmark = pytest.mark.timeout(200)  # several processes a test

DAY = 86_400


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    assert piped("new", "sums", folder=tmp_path).returncode == 0
    for words in (("recorded",), ("dummy", "runner.recorder=dummy")):
        run_set, *more = words
        done = piped("run", "sums.py:Sums", f"runner.run_set_id={run_set}", *more, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    return tmp_path


def what_goes(folder: Path, *words: str) -> set[str]:
    done = piped("clean", "--dry-run", "--json", *words, folder=folder)
    assert done.returncode == 0, done.stderr
    return {f"{one['what']} {Path(one['path']).name}" for one in json.loads(done.stdout)}


def test_what_has_no_other_trace_is_kept(ran: Path) -> None:
    assert what_goes(ran) == {"state recorded.db", "backup recorded.db"}
    kept = piped("clean", "--dry-run", folder=ran)
    assert "left alone: dummy has no record (--without-record removes it)" in kept.stderr
    assert {"state dummy.db", "backup dummy.db"} <= what_goes(ran, "--without-record")


def test_it_leaves_nothing_of_ours_behind(ran: Path) -> None:
    (ran / "state" / "gone.lock").touch()
    (ran / "state" / "gone.shared").mkdir()
    (ran / "backups" / ".gone.db.part").touch()
    done = piped("clean", "--without-record", "--yes", folder=ran)
    assert done.returncode == 0, done.stderr
    assert "2 × state" in done.stderr
    assert not (ran / "state").exists()
    assert not (ran / "backups").exists()
    assert len(list((ran / "records").glob("*.jsonl"))) == 1


def test_logs_have_an_age(ran: Path) -> None:
    (log,) = ran.rglob("recorded.log")
    assert not [one for one in what_goes(ran) if one.startswith("log")]
    old = time.time() - 31 * DAY
    os.utime(log, (old, old))
    assert "log recorded.log" in what_goes(ran)
    shown = piped("clean", "--dry-run", folder=ran).stdout
    assert "31 days" in shown


def test_what_is_being_run_is_left_alone(ran: Path) -> None:
    import fcntl

    with (ran / "state" / "recorded.lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert what_goes(ran, "--unfinished") == set()


def test_shell_and_keep_machines_are_about_computer_tasks(ran: Path) -> None:
    done = piped("shell", "sums.py:Sums", folder=ran)
    assert done.returncode == 2
    assert "has no field that is a ComputerRuntime" in done.stderr
    done = piped("run", "sums.py:Sums", "--keep-machines", folder=ran)
    assert done.returncode == 2
    assert "starts no machines" in done.stderr
