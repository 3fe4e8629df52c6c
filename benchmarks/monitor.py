"""What watching a run costs: the run's speed with a monitor beside it, and the monitor's memory.

    python benchmarks/monitor.py            the ratio of run times, watched to unwatched
    python benchmarks/monitor.py memory     1,000 events a second for a minute

The watched run has somebody at its page: a client that reads every server-sent event.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import chz  # noqa: E402
import psutil  # noqa: E402
from nanoeval_core import EvalSpec, RunnerArgs  # noqa: E402
from nanoeval_core.eval import Eval  # noqa: E402
from nanoeval_core.recorder import get_recorder  # noqa: E402
from nanoeval_core.task import Task  # noqa: E402
from nanoeval_runner import run  # noqa: E402

TASKS = 30_000
ROUNDS = 5
EVENTS_PER_SECOND = 1000
SECONDS = 60
LATENCY = 0.1


class Stopwatch:
    """From the first task to the last summary."""

    def __init__(self) -> None:
        self.started = 0.0
        self.seconds = 0.0

    def start(self) -> None:
        self.started = self.started or time.perf_counter()

    def stop(self) -> None:
        self.seconds = time.perf_counter() - self.started


@chz.chz
class Recorded(Eval[Task, bool]):
    """Tasks that wait `latency` seconds and record a sampling and a match."""

    n: int
    stopwatch: Stopwatch
    latency: float = 0.0

    def get_name(self) -> str:
        return "recorded"

    async def get_tasks(self) -> list[Task]:
        return [Task(question_id=f"q{number}") for number in range(self.n)]

    async def evaluate(self, task: Task) -> bool:
        self.stopwatch.start()
        if self.latency:
            await asyncio.sleep(self.latency)
        recorder = get_recorder()
        recorder.record_sampling("What is it? " * 40, ["It is this. " * 40])
        recorder.record_match(True, expected="A", picked="A")
        return True

    async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
        self.stopwatch.stop()
        return {"n": len(results)}


class Reader:
    """Reads the live page's events of whatever run set the monitor beside this process shows."""

    def __init__(self) -> None:
        self.bytes = 0
        self.memory: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            base, process = self._find()
            while not self._stop.is_set():
                with urllib.request.urlopen(f"{base}/api/live", timeout=10) as answer:
                    self.bytes += len(answer.read())
                self.memory.append(process.memory_info().rss)
                self._stop.wait(1.0)

    def _find(self) -> tuple[str, psutil.Process]:
        while not self._stop.is_set():
            for child in psutil.Process().children():
                for one in child.net_connections("tcp"):
                    if one.status == psutil.CONN_LISTEN:
                        return f"http://127.0.0.1:{one.laddr.port}", child
            self._stop.wait(0.1)
        raise OSError("the run was over before its monitor was found")


@contextlib.contextmanager
def own_folders() -> Iterator[None]:
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"NANOEVAL_STATE_DIR": f"{folder}/state", "NANOEVAL_LOG_DIR": folder}
        yield
    os.environ.clear()
    os.environ.update(before)


def timed(n: int, *, latency: float, concurrency: int, watched: bool) -> tuple[float, Reader]:
    """Seconds from the first task to the summary: the monitor's start is not part of it."""
    stopwatch = Stopwatch()
    runner = RunnerArgs(concurrency=concurrency, use_monitor=watched, should_backup=False)
    reader = Reader()
    with own_folders(), reader if watched else contextlib.nullcontext():
        eval = Recorded(n=n, latency=latency, stopwatch=stopwatch)
        asyncio.run(run(EvalSpec(eval=eval, runner=runner)))
        return stopwatch.seconds, reader


def slowdown() -> None:
    pairs = []
    for _ in range(ROUNDS):
        unwatched, _reader = timed(TASKS, latency=0.0, concurrency=4096, watched=False)
        watched, _reader = timed(TASKS, latency=0.0, concurrency=4096, watched=True)
        pairs.append(watched / unwatched)
        print(f"unwatched {unwatched:.2f} s, watched {watched:.2f} s, ratio {pairs[-1]:.3f}")
    print(f"watched to unwatched, median of {ROUNDS}: {statistics.median(pairs):.3f}")


def memory() -> None:
    concurrency = round(1.5 * EVENTS_PER_SECOND / 2 * LATENCY)  # some more: timers are late
    tasks = EVENTS_PER_SECOND // 2 * SECONDS
    seconds, reader = timed(tasks, latency=LATENCY, concurrency=concurrency, watched=True)
    print(f"{2 * tasks / seconds:.0f} events/s for {seconds:.0f} s")
    quarter = len(reader.memory) // 4
    early, late = statistics.median(reader.memory[quarter : 2 * quarter]), reader.memory[-2]
    print(f"monitor: {early / 1e6:.1f} MB in the second quarter, {late / 1e6:.1f} MB at the end")
    print(f"ratio {late / early:.3f}")


if __name__ == "__main__":
    memory() if "memory" in sys.argv[1:] else slowdown()
