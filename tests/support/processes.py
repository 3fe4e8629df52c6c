"""Runs in processes of their own that tests start, kill, stop and look into."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.support.gates import PATIENCE, Gate
from tests.support.script import ROOT, environment

RUN_SET = "crashed"


class RunProcess:
    """A run in a process of its own, in a process group of its own."""

    def __init__(self, command: list[str], folder: Path, **more: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(folder, **more),
            start_new_session=True,
        )
        self.family: list[psutil.Process] = []

    @property
    def pid(self) -> int:
        return self.process.pid

    def remember_family(self) -> list[psutil.Process]:
        """All processes that it has started so far."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for member in psutil.Process(self.pid).children(recursive=True):
                if member not in self.family:
                    self.family.append(member)
        return self.family

    def executors(self) -> list[psutil.Process]:
        """The processes of its pool."""
        pids = query(self.folder, "SELECT pid FROM executor WHERE state = 'running' AND pid > 0")
        return [member for member in self.remember_family() if member.pid in pids]

    def kill(self) -> None:
        """`kill -9` of the main process alone."""
        self.remember_family()
        self.process.kill()
        self.process.wait(PATIENCE)

    def interrupt(self) -> None:
        """Ctrl-C: SIGINT to the whole process group, as a terminal sends it."""
        self.remember_family()
        os.killpg(self.pid, signal.SIGINT)

    def end(self) -> tuple[int, str, str]:
        """Its exit code, stdout and stderr."""
        self.remember_family()
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err

    def summaries(self) -> list[dict[str, Any]]:
        code, out, err = self.end()
        assert code == 0, err
        found: list[dict[str, Any]] = json.loads(out.splitlines()[-1])
        return found

    def assert_nothing_is_left(self, seconds: float = 5.0) -> None:
        _, alive = psutil.wait_procs(self.family, timeout=seconds)
        assert not alive, [p.cmdline() for p in alive]

    def clean_up(self) -> None:
        self.remember_family()
        for member in self.family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def gated_run(
    gate: Gate, folder: Path, *, module: bool = False, **config: Any
) -> Iterator[RunProcess]:
    """`tests.support.gates.main` in a process of its own.

    Args:
        module: start it with `python -m`, so that its classes are in `__main__`.
    """
    how = (
        ["-m", "tests.support.gates"]
        if module
        else ["-c", "from tests.support import gates; gates.main()"]
    )
    runner = {"run_set_id": RUN_SET} | config.pop("runner", {})
    config = {"gate": gate.path, "runner": runner} | config
    process = RunProcess([sys.executable, *how, json.dumps(config)], folder)
    try:
        yield process
    finally:
        process.clean_up()


def database(folder: Path, run_set_id: str = RUN_SET) -> sqlite3.Connection:
    # An executor that a test stopped may hold the lock, until it is killed for its silence.
    path = folder / "state" / f"{run_set_id}.db"
    return sqlite3.connect(path, isolation_level=None, timeout=60)


def query(folder: Path, statement: str, run_set_id: str = RUN_SET) -> list[Any]:
    with contextlib.closing(database(folder, run_set_id)) as db:
        rows = db.execute(statement).fetchall()
    return [row[0] if len(row) == 1 else row for row in rows]


def until(folder: Path, statement: str, answer: list[Any], run_set_id: str = RUN_SET) -> None:
    """Look into the state file until the statement has this answer; no event tells of that."""
    while query(folder, statement, run_set_id) != answer:
        time.sleep(0.02)


def matches(folder: Path) -> dict[str, int]:
    """Recorded matches by `question.attempt`, over the run's one record."""
    (path,) = (folder / "records").iterdir()
    found: dict[str, int] = {}
    for line in path.read_text().splitlines():
        event = json.loads(line)
        if event.get("type") == "match":
            expected = event["data"]["expected"]
            found[expected] = found.get(expected, 0) + 1
    return found
