"""Runs in a process of their own whose executors, and themselves, get killed.

The eval is `recorded_eval`: its attempts leave notes, and are held from a certain one on.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from nanoeval_recorder import read, report
from nanoeval_recorder.reading.events import Match

ROOT = Path(__file__).parents[2]
MAIN = "from tests.support.recorded_eval import main; main()"
RUN_SET = "killed"


class KilledRun:
    """One run set in `folder`, which holds its state, records, backups and notes."""

    def __init__(self, folder: Path, *, runner: dict[str, Any], **eval: Any) -> None:
        self.folder = folder
        self.notes = folder / "notes"
        self.notes.mkdir()
        self.n: int = eval["n"]
        self.env = os.environ | {
            "NANOEVAL_STATE_DIR": str(folder / "state"),
            "NANOEVAL_LOG_DIR": str(folder / "records"),
            "NANOEVAL_BACKUP_DIR": str(folder / "backups"),
        }
        self.config = {
            "recorder": "evallib",
            "runner": {"run_set_id": RUN_SET, **runner},
            "notes": str(self.notes),
            **eval,
        }

    @contextlib.contextmanager
    def started(self) -> Iterator[subprocess.Popen[str]]:
        """The driver's process; killed at the end if it is still there."""
        with (self.folder / "stderr").open("a") as stderr:
            driver = subprocess.Popen(
                [sys.executable, "-c", MAIN, json.dumps(self.config)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=self.env,
                start_new_session=True,
            )
        try:
            yield driver
        finally:
            driver.kill()
            driver.wait()
            assert driver.stdout is not None
            driver.stdout.close()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def until(self, reached: Callable[[], bool], driver: subprocess.Popen[str]) -> None:
        """Wait for other processes; the test's own timeout is the guard."""
        while not reached():
            assert driver.poll() is None, f"the run ended too early:\n{self.stderr}"
            time.sleep(0.02)

    def noted(self) -> int:
        return len(os.listdir(self.notes))

    def let_go(self) -> None:
        """Attempts that start from now on are no longer held."""
        (self.notes / "go").touch()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """What the state file says; nothing before the run has made it."""
        path = self.folder / "state" / f"{RUN_SET}.db"
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            made = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'executor'")
            return connection.execute(sql).fetchall() if made.fetchone() else []

    def executors(self) -> dict[str, int]:
        """The pids of running executors, by name."""
        found = self.query("SELECT name, pid FROM executor WHERE state = 'running' AND pid > 0")
        return {name: int(pid) for name, pid in found}

    def done(self) -> set[str]:
        return {
            question
            for (question,) in self.query("SELECT question_id FROM task WHERE state = 'done'")
        }

    def notes_by_question(self) -> dict[str, int]:
        names = [name.partition(".")[0] for name in os.listdir(self.notes) if name != "go"]
        return collections.Counter(names)

    def finish_after_killing_executors(self, driver: subprocess.Popen[str]) -> dict[str, int]:
        """Kill the executors with what they hold; the run ends whole. Return who they were."""
        before, done = self.executors(), self.done()
        self.let_go()
        for pid in before.values():
            kill(pid)
        output, _ = driver.communicate()
        assert driver.returncode == 0, self.stderr
        self.assert_whole(output, done)
        return before

    def assert_whole(self, output: str, done_before: set[str]) -> None:
        """The run is complete, its record is, and nothing in `done_before` was run again."""
        assert json.loads(output.splitlines()[-1])["n"] == self.n
        notes = self.notes_by_question()
        assert len(notes) == self.n
        assert {question: notes[question] for question in done_before} == dict.fromkeys(
            done_before, 1
        )
        (record,) = (self.folder / "records").iterdir()
        matches = collections.Counter(
            (e.sample_id, e.get("part")) for e in read(record) if isinstance(e, Match)
        )
        assert matches == {(f"q{i}", part): 1 for i in range(self.n) for part in (1, 2)}
        assert report(record)["n"] == self.n


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def until_gone(pids: Iterable[int]) -> None:
    """Wait until these processes have ended; the test's own timeout is the guard."""
    for pid in pids:
        while not is_gone(pid):
            time.sleep(0.02)


def is_gone(pid: int) -> bool:
    """Whether the process has ended, if only as a zombie that waits for its parent."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"
