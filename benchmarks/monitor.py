"""What watching a run costs: the run's speed with a monitor next to it, and the monitor's memory.

    python benchmarks/monitor.py            the ratio of run times, watched to unwatched
    python benchmarks/monitor.py memory     1,000 events a second for a minute
    python benchmarks/monitor.py search     a record of 1,000,000 samples: index, search, compare
    python benchmarks/monitor.py --small    the first with few tasks

The watched run has somebody at its page: a client that reads every server-sent event, in a
process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import chz  # noqa: E402
from nanoeval_core import EvalSpec, RunnerArgs  # noqa: E402
from nanoeval_core.eval import Eval  # noqa: E402
from nanoeval_core.recorder import get_recorder  # noqa: E402
from nanoeval_core.task import Task  # noqa: E402
from nanoeval_monitor._comparison import compare_runs  # noqa: E402
from nanoeval_monitor._record_index import RecordIndex  # noqa: E402
from nanoeval_monitor._sample_query import find_samples  # noqa: E402
from nanoeval_runner import run  # noqa: E402

TASKS, ROUNDS = (500, 1) if "--small" in sys.argv else (60_000, 6)
EVENTS_PER_SECOND = 1000
SECONDS = 60
LATENCY = 0.1


class Stopwatch:
    """From the first task to the last summary: seconds, and this process's processor time."""

    def __init__(self) -> None:
        self.started: tuple[float, float] | None = None
        self.seconds = 0.0
        self.work = 0.0

    def start(self) -> None:
        if self.started is None:
            self.started = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        if self.started is not None:
            self.seconds = time.perf_counter() - self.started[0]
            self.work = time.process_time() - self.started[1]


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


@contextlib.contextmanager
def somebody_watching(memory: list[int]) -> Iterator[None]:
    """Runs `page_reader.py` next to this process; adds the monitor's resident bytes to `memory`."""
    script = Path(__file__).with_name("page_reader.py")
    command = [sys.executable, str(script), str(os.getpid())]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        reader.terminate()
        memory += [int(line) for line in reader.communicate()[0].split()]


@contextlib.contextmanager
def own_folders() -> Iterator[None]:
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"NANOEVAL_STATE_DIR": f"{folder}/state", "NANOEVAL_LOG_DIR": folder}
        yield
    os.environ.clear()
    os.environ.update(before)


def timed(
    n: int, *, latency: float, concurrency: int, watched: bool
) -> tuple[Stopwatch, list[int]]:
    """How long a run took, and the monitor's memory meanwhile."""
    stopwatch = Stopwatch()
    memory: list[int] = []
    runner = RunnerArgs(concurrency=concurrency, use_monitor=watched, should_backup=False)
    watching = somebody_watching(memory) if watched else contextlib.nullcontext()
    with own_folders(), watching:
        eval = Recorded(n=n, latency=latency, stopwatch=stopwatch)
        asyncio.run(run(EvalSpec(eval=eval, runner=runner)))
    return stopwatch, memory


def slowdown() -> None:
    wall: dict[bool, list[float]] = {False: [], True: []}
    work: dict[bool, list[float]] = {False: [], True: []}
    for round_ in range(ROUNDS):
        # In turn, and the order too: a machine whose speed drifts slows both.
        for watched in (False, True) if round_ % 2 else (True, False):
            found, _ = timed(TASKS, latency=0.0, concurrency=4096, watched=watched)
            wall[watched].append(found.seconds)
            work[watched].append(found.work)
            print(f"{'watched' if watched else 'unwatched'}: {found.seconds:.2f} s")
    for what, both in (("seconds", wall), ("the run's processor time", work)):
        if not all(both[False]):
            print(f"{what}: too little to compare")  # a small run within one tick of the clock
            continue
        pairs = [a / b for a, b in zip(both[True], both[False], strict=True)]
        best = min(both[True]) / min(both[False])
        print(
            f"{what}, watched to unwatched: median {statistics.median(pairs):.3f}, best {best:.3f}"
        )


def memory() -> None:
    concurrency = round(1.5 * EVENTS_PER_SECOND / 2 * LATENCY)  # some more: timers are late
    tasks = EVENTS_PER_SECOND // 2 * SECONDS
    run_, found = timed(tasks, latency=LATENCY, concurrency=concurrency, watched=True)
    print(f"{2 * tasks / run_.seconds:.0f} events/s for {run_.seconds:.0f} s")
    quarter = len(found) // 4
    early, late = statistics.median(found[quarter : 2 * quarter]), found[-2]
    print(f"monitor: {early / 1e6:.1f} MB in the second quarter, {late / 1e6:.1f} MB at the end")
    print(f"ratio {late / early:.3f}")


def search() -> None:
    samples = 2_000 if "--small" in sys.argv else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        indices = {}
        for name in ("a", "b"):
            record = Path(folder) / f"{name}.jsonl"
            write_record(record, samples)
            indices[name] = RecordIndex(record)
            timed_step(f"index of {samples:,} samples", indices[name].update_all)
        timed_step("all of it searchable", lambda: indices["a"].update_search(1e9))
        asked = {"q": "enzyme number 77"}
        timed_step("one search", lambda: find_samples(indices["a"], asked))
        timed_step("a comparison", lambda: compare_runs(indices))


def timed_step(what: str, step: Callable[[], Any]) -> None:
    wall, work = time.perf_counter(), time.process_time()
    step()
    wall, work = time.perf_counter() - wall, time.process_time() - work
    print(f"{what}: {wall:.2f} s, {work:.2f} s of processor")


def write_record(record: Path, samples: int) -> None:
    with record.open("w") as file:
        file.write(json.dumps({"spec": {"run_id": record.stem, "eval_name": "big"}}) + "\n")
        for number in range(samples):
            common = {"run_id": record.stem, "sample_id": f"q{number}", "group_id": "1.0"}
            prompt = [{"role": "user", "content": f"Question {number}: which of these is right?"}]
            reply = f"Because of the enzyme number {number % 977}, the answer must be B."
            correct = hash((record.stem, number)) % 3 > 0
            match = {"correct": correct, "expected": "B", "picked": "B" if correct else "C"}
            for kind, data in (
                ("sampling", {"prompt": prompt, "sampled": [reply]}),
                ("match", match),
            ):
                file.write(json.dumps({**common, "type": kind, "data": data}) + "\n")


if __name__ == "__main__":
    if "search" in sys.argv[1:]:
        search()
    else:
        memory() if "memory" in sys.argv[1:] else slowdown()
