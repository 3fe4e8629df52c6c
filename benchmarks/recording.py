"""What recording costs on top of a run without it, and how fast a record is read back.

    python benchmarks/recording.py [in_process] [pool] [reading] [--small]

Ratios against the same run with the dummy recorder, and against a bare loop of the same decoder
over the same file, the two sides in turn; medians. Each task records a match and a 2 kB sampling.
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chz
import msgspec
from nanoeval_core import Eval, EvalSpec, RunnerArgs, Task, dummy_recorder, get_recorder
from nanoeval_recorder import evallib_recorder, read, samples
from nanoeval_runner import run

SMALL = "--small" in sys.argv
TASKS, SAMPLES, RUNS = (200, 500, 1) if SMALL else (20_000, 100_000, 7)
AT_MOST = 1.30
AT_LEAST = 0.60
REPLY = 'A reply of two thousand characters, with "quotes" and\nlines. ' * 32


@chz.chz
class Recording(Eval[Task, bool]):
    n: int

    def get_name(self) -> str:
        return "recording"

    async def get_tasks(self) -> list[Task]:
        return [Task(question_id=f"q{i}") for i in range(self.n)]

    async def evaluate(self, task: Task) -> bool:
        recorder = get_recorder()
        recorder.record_sampling("a prompt", REPLY)
        recorder.record_match(True, expected="A", picked="A")
        return True

    async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
        return {"n": len(results)}

    async def get_full_summary(self, results: list[tuple[Task, Any]]) -> dict[str, Any]:
        return await self.get_summary(results)


def timed_run(n: int, recorder: Any, **runner: Any) -> float:
    spec = EvalSpec(
        eval=Recording(n=n), runner=RunnerArgs(recorder=recorder, should_backup=False, **runner)
    )
    gc.collect()
    start = time.perf_counter()
    asyncio.run(run(spec))
    return time.perf_counter() - start


def overhead(n: int, **runner: Any) -> tuple[float, str]:
    """Median seconds with the evallib recorder over those with the dummy one."""
    sides = {"dummy": dummy_recorder(), "evallib": evallib_recorder()}
    took: dict[str, list[float]] = {name: [] for name in sides}
    timed_run(1000, sides["evallib"], **runner)
    for _ in range(RUNS):
        for name, recorder in sides.items():
            took[name].append(timed_run(n, recorder, **runner))
    dummy, evallib = (statistics.median(took[name]) for name in ("dummy", "evallib"))
    detail = f"{n / dummy:,.0f} → {n / evallib:,.0f} tasks/s, {n:,} tasks"
    return evallib / dummy, detail


def in_process() -> bool:
    ratio, detail = overhead(TASKS)
    return say("recording, in one process", ratio, ratio <= AT_MOST, f"≤ {AT_MOST}", detail)


def pool() -> bool:
    ratio, detail = overhead(
        TASKS, experimental_use_multiprocessing=True, num_processes=os.cpu_count()
    )
    return say("recording, in a pool", ratio, ratio <= AT_MOST, f"≤ {AT_MOST}", detail)


def record_of(n: int, folder: str, **options: Any) -> Path:
    spec = EvalSpec(
        eval=Recording(n=n),
        runner=RunnerArgs(
            recorder=evallib_recorder(log_dir=folder, **options), should_backup=False
        ),
    )
    asyncio.run(run(spec))
    (path,) = Path(folder).iterdir()
    return path


def reading() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = record_of(SAMPLES, folder)
        decode = msgspec.json.Decoder().decode

        def bare() -> None:
            with path.open("rb") as lines:
                for line in lines:
                    decode(line)

        def events() -> None:
            for _ in read(path):
                pass

        def joined() -> None:
            for _ in samples(path):
                pass

        good = True
        for name, work in (("read", events), ("samples", joined)):
            ratio, detail = against(bare, work)
            detail += f", {SAMPLES:,} samples"
            good &= say(f"{name}(path)", ratio, ratio >= AT_LEAST, f"≥ {AT_LEAST}", detail)
    return good


def against(bare: Callable[[], None], work: Callable[[], None]) -> tuple[float, str]:
    """How much of the speed of `bare` there is in `work`."""
    took: dict[Callable[[], None], list[float]] = {bare: [], work: []}
    for _ in range(RUNS):
        for function, times in took.items():
            gc.collect()
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    slow, fast = statistics.median(took[work]), statistics.median(took[bare])
    return fast / slow, f"{slow:.2f} s against {fast:.2f} s"


def say(work: str, ratio: float, good: bool, bound: str, detail: str) -> bool:
    print(
        f"{'ok' if good else 'MISSED':>6}  {ratio:5.2f} ({bound})  {work}  ({detail})", flush=True
    )
    return good


ROWS = {"in_process": in_process, "pool": pool, "reading": reading}


def main(names: list[str]) -> bool:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(dir=memory) as state,
        tempfile.TemporaryDirectory() as records,
    ):
        os.environ["NANOEVAL_STATE_DIR"] = state
        os.environ["NANOEVAL_LOG_DIR"] = records
        good = [ROWS[name]() for name in names or list(ROWS)]
        return SMALL or all(good)


if __name__ == "__main__":
    sys.exit(not main([name for name in sys.argv[1:] if name != "--small"]))
