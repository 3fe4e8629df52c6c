"""Records to look at, and a real monitor process to look at them with."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.connection import connect
from nanoeval_runner._queue.paths import SUFFIX, create_private

WriteRecord = Callable[..., Path]


class Served(NamedTuple):
    """A running monitor: where it is, and the token for changes."""

    base: str
    token: str


@pytest.fixture
def records(tmp_path: Path) -> Path:
    folder = tmp_path / "records"
    folder.mkdir()
    return folder


@pytest.fixture
def write_record(records: Path) -> WriteRecord:
    """Writes a record in the evallib format, as a finished run leaves it."""

    def write(run_id: str = "RUN", *, n: int = 40, attempts: int = 1, **more: Any) -> Path:
        path = more.get("path") or records / f"{run_id}.jsonl"
        lines = evallib_lines(run_id, n=n, attempts=attempts, **more)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        return Path(path)

    return write


def evallib_lines(
    run_id: str,
    *,
    n: int,
    attempts: int,
    accuracy: float = 0.6,
    reply: str = "Because of the enzyme.",
    model: str = "gpt-4o-mini",
    finished: bool = True,
    path: object = None,
) -> Iterator[dict[str, Any]]:
    dice = random.Random(f"{run_id}")
    spec = {
        "run_id": run_id,
        "run_set_id": f"set-{run_id}",
        "eval_name": "gpqa.diamond",
        "completion_fns": [model],
        "created_at": "2026-10-01T10:00:00+00:00",
        "created_by": "ada",
    }
    yield {"spec": spec}
    correct = 0
    for index in range(n):
        for attempt in range(1, attempts + 1):
            common = {
                "run_id": run_id,
                "sample_id": f"q{index}",
                "group_id": f"{attempt}.0",
                "created_at": "2026-10-01T10:00:00+00:00",
            }
            right = dice.random() < accuracy
            correct += right
            prompt = [{"role": "user", "content": f"Question number {index}?"}]
            yield {**common, "type": "sampling", "data": {"prompt": prompt, "sampled": [reply]}}
            match = {"correct": right, "expected": "A", "picked": "A" if right else "B"}
            match |= {"prob_correct": dice.random(), "subject": ("physics", "biology")[index % 2]}
            match["choices"] = {"A": "the right one", "B": "the other"}
            yield {**common, "type": "match", "data": match}
    if finished:
        report = {"accuracy": correct / max(1, n * attempts), "n": n}
        yield {"final_report": report, "run_id": run_id}


@pytest.fixture
def start_monitor(records: Path, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts `python -m nanoeval_monitor`, which ends when its standard input closes."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, token: str = "secret-token") -> Served:
        (tmp_path / "state").mkdir(mode=0o700, exist_ok=True)
        given = [f"records={records}", f"state={tmp_path / 'state'}", "port=0", f"token={token}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "nanoeval_monitor", *given, "until_closed=True", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        url = process.stdout.readline().partition(": ")[2].strip()
        assert url, "the monitor did not start"
        return Served(url.partition("/#")[0].partition("/?")[0], token)

    yield start
    for process in started:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait()  # the test's own timeout is the guard
        process.stdout.close()


@pytest.fixture
def monitor(start_monitor: Callable[..., Served]) -> Served:
    return start_monitor()


@pytest.fixture
def state_without_evals(tmp_path: Path) -> Path:
    """The state file of a run that has begun and not said yet which evals it runs."""
    (tmp_path / "state").mkdir(mode=0o700, exist_ok=True)
    file = tmp_path / "state" / f"just-begun{SUFFIX}"
    create_private(file)
    with contextlib.closing(connect(file)) as connection:
        transactions.create_schema(connection, "just-begun")
    return file


class LiveRun:
    """A run in a process of its own that goes on until it is released.

    Attributes:
        url: of the monitor beside it, when it has one.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.url = ""

    def release(self) -> int:
        """Let the run end, and return its exit code."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        return self.process.wait()

    def read_url(self) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("monitor: "):
                self.url = line.partition(": ")[2].strip()
                break
        return self.url


@pytest.fixture
def start_run(records: Path, tmp_path: Path) -> Iterator[Callable[..., LiveRun]]:
    """Starts `live_eval.py`, whose last tasks wait until it is released."""
    started: list[LiveRun] = []
    state = tmp_path / "state"
    state.mkdir(mode=0o700, exist_ok=True)

    def start(tasks: int, held: int, *arguments: str) -> LiveRun:
        script = Path(__file__).with_name("live_eval.py")
        environ = {"NANOEVAL_STATE_DIR": str(state), "NANOEVAL_LOG_DIR": str(records)}
        process = subprocess.Popen(
            [sys.executable, str(script), str(tasks), str(held), *arguments],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **environ},
        )
        started.append(LiveRun(process))
        return started[-1]

    yield start
    for run in started:
        run.process.kill()
        run.process.wait()
        for stream in (run.process.stdin, run.process.stderr):
            if stream is not None:
                stream.close()
