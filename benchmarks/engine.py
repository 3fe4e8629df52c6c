"""What the engine costs, as ratios against bare loops measured in the same run.

    .venv/bin/hatch run bench    all rows, and the table in README.md made anew
    python benchmarks/engine.py NAME ...      some rows

Each figure is the median of at least five runs, the two sides taken in turn, so that a machine
whose speed drifts slows both.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nanoeval_core import EvalSpec, RunnerArgs, dummy_recorder  # noqa: E402
from nanoeval_core.recorder_registry import find_recorder  # noqa: E402
from nanoeval_runner import run  # noqa: E402
from nanoeval_runner._exit_stack import global_exit_stack  # noqa: E402

from benchmarks.noop_eval import CONCURRENCY, BenchEval, bare_loop, compute, tasks  # noqa: E402

RUNS = 5


@dataclasses.dataclass(frozen=True)
class Figure:
    """One row of the table. `ratio` is ours to theirs, `higher` whether more is better."""

    work: str
    ratio: float
    must: float
    aim: float
    higher: bool
    detail: str

    @property
    def verdict(self) -> str:
        good = (lambda bound: self.ratio >= bound) if self.higher else (lambda b: self.ratio <= b)
        return "aim" if good(self.aim) else "must" if good(self.must) else "MISSED"


def spec(eval: BenchEval, **runner: Any) -> EvalSpec:
    runner = {"recorder": dummy_recorder(), "concurrency": CONCURRENCY, **runner}
    return EvalSpec(eval=eval, runner=RunnerArgs(**runner))


async def no_op(task: object) -> bool:
    return True


async def seconds(work: Callable[[], Awaitable[Any]]) -> float:
    start = time.perf_counter()
    await work()
    return time.perf_counter() - start


async def in_turn(
    ours: Callable[[], Awaitable[Any]], theirs: Callable[[], Awaitable[Any]], runs: int = RUNS
) -> tuple[float, float]:
    """The median seconds of both, run alternately after one warm-up each."""
    await ours()
    await theirs()
    pairs = [(await seconds(ours), await seconds(theirs)) for _ in range(runs)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


# --- rows


async def no_op_tasks() -> Figure:
    n = 10_000
    eval = BenchEval(n=n)
    ours, bare = await in_turn(
        lambda: run(spec(eval)), lambda: bare_loop(tasks.get(n), no_op, CONCURRENCY)
    )
    return Figure(
        "10,000 no-op tasks, in-process, dummy recorder: throughput against the bare loop's",
        bare / ours, 0.30, 0.50, True, f"{n / ours:,.0f} against {n / bare:,.0f} tasks/s",
    )  # fmt: skip


async def recorded_tasks() -> Figure:
    n = 10_000
    eval = BenchEval(n=n, record=True)
    recorder = find_recorder("evallib")()
    ours, bare = await in_turn(
        lambda: run(spec(eval, recorder=recorder)),
        lambda: bare_loop(tasks.get(n), no_op, CONCURRENCY),
    )
    return Figure(
        "the same with the default recorder, one match a task",
        bare / ours, 0.20, 0.35, True, f"{n / ours:,.0f} against {n / bare:,.0f} tasks/s",
    )  # fmt: skip


def _cost(n: int) -> dict[str, float]:
    """Seconds and bytes a task of `n` no-op tasks, measured in a process of its own."""
    out = subprocess.run(
        [sys.executable, __file__, "--cost", str(n)], capture_output=True, text=True, check=True
    )
    took, memory = out.stdout.split()
    return {"seconds": float(took), "bytes": float(memory)}


async def _many(n: int, runs: int) -> tuple[Figure, Figure]:
    small, large = [], []
    for _ in range(runs):
        small.append(_cost(10_000))
        large.append(_cost(n))
    per_small = statistics.median(c["seconds"] for c in small) / 10_000
    per_large = statistics.median(c["seconds"] for c in large) / n
    memory = statistics.median(c["bytes"] for c in large)
    return (
        Figure(
            f"{n:,} no-op tasks: cost per task against that at 10,000",
            per_large / per_small, 1.3, 1.1, False,
            f"{per_large * 1e6:.1f} against {per_small * 1e6:.1f} µs",
        ),
        Figure(
            f"{n:,} no-op tasks: memory per task, state file included (kB)",
            memory / 1000, 2.5, 1.5, False, f"{memory:,.0f} bytes",
        ),
    )  # fmt: skip


async def tasks_200k() -> tuple[Figure, Figure]:
    return await _many(200_000, RUNS)


async def tasks_1m() -> tuple[Figure, Figure]:
    return await _many(1_000_000, 1)


async def small_run() -> Figure:
    eval = BenchEval(n=12)

    async def python() -> None:
        await (await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")).wait()

    ours, bare = await in_turn(lambda: run(spec(eval)), python, runs=15)
    return Figure(
        "12 no-op tasks, `run` called in a started process: wall time against `python -c pass`",
        ours / bare, 3.0, 1.5, False, f"{ours * 1e3:.1f} against {bare * 1e3:.1f} ms",
    )  # fmt: skip


def _spawn_two() -> None:
    import multiprocess  # noqa: PLC0415  what is measured

    context = multiprocess.get_context("spawn")
    processes = [context.Process(target=_import_runner) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def _import_runner() -> None:
    import nanoeval_runner  # noqa: F401, PLC0415  what is measured


async def cold_pool() -> Figure:
    eval = BenchEval(n=100)
    runner: dict[str, Any] = {"experimental_use_multiprocessing": True, "num_processes": 2}

    async def spawns() -> None:
        await asyncio.to_thread(_spawn_two)

    ours, bare = await in_turn(lambda: run(spec(eval, **runner)), spawns)
    return Figure(
        "100 no-op tasks on a cold pool of 2 processes: wall time against two bare spawns",
        ours / bare, 2.5, 1.5, False, f"{ours * 1e3:.0f} against {bare * 1e3:.0f} ms",
    )  # fmt: skip


async def _waiting(n: int, concurrency: int) -> tuple[float, float]:
    async def wait(task: object) -> bool:
        await asyncio.sleep(1.0)
        return True

    eval = BenchEval(n=n, wait=1.0)
    return await in_turn(
        lambda: run(spec(eval, concurrency=concurrency)),
        lambda: bare_loop(tasks.get(n), wait, concurrency),
        runs=5 if n == concurrency else 3,
    )


async def waiting_at_once() -> Figure:
    ours, bare = await _waiting(4096, 4096)
    return Figure(
        "4,096 tasks that wait 1 s, concurrency 4,096: wall time against the bare loop's",
        ours / bare, 1.25, 1.1, False, f"{ours:.2f} against {bare:.2f} s",
    )  # fmt: skip


async def waiting_in_turn() -> Figure:
    ours, bare = await _waiting(8192, 512)
    return Figure(
        "8,192 tasks that wait 1 s, concurrency 512: throughput against the bare loop's",
        bare / ours, 0.95, 0.98, True, f"{ours:.2f} against {bare:.2f} s",
    )  # fmt: skip


def _compute_many(n: int, each: float) -> None:
    for _ in range(n):
        compute(each)


async def computing() -> Figure:
    n, each = 400, 0.02
    eval = BenchEval(n=n, compute=each)
    runner: dict[str, Any] = {"experimental_use_multiprocessing": True, "num_processes": 2}

    async def two() -> None:
        code = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
            f"from benchmarks.engine import _compute_many; _compute_many({n // 2}, {each})"
        )
        both = [await asyncio.create_subprocess_exec(sys.executable, "-c", code) for _ in range(2)]
        for process in both:
            await process.wait()

    ours, bare = await in_turn(lambda: run(spec(eval, **runner)), two)
    return Figure(
        "400 tasks of 20 ms CPU on 2 processes, pool start included: against two bare processes",
        bare / ours, 0.85, 0.93, True, f"{ours:.2f} against {bare:.2f} s",
    )  # fmt: skip


async def _pool_up(processes: int) -> Figure:
    n = 20_000
    runner = {"experimental_use_multiprocessing": True, "num_processes": processes}
    async with global_exit_stack:
        ours, alone = await in_turn(
            lambda: run(spec(BenchEval(n=n), **runner)), lambda: run(spec(BenchEval(n=n)))
        )
    return Figure(
        f"20,000 no-op tasks, {processes} processes on one file, pool up: against in-process",
        alone / ours, 0.7, 1.2, True, f"{n / ours:,.0f} against {n / alone:,.0f} tasks/s",
    )  # fmt: skip


async def pool_of_2() -> Figure:
    return await _pool_up(2)


async def pool_of_8() -> Figure:
    return await _pool_up(8)


async def resuming() -> Figure:
    imports, first = [], []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run(  # noqa: ASYNC221  nothing else is on this loop
            [sys.executable, "-c", "import nanoeval_runner"], check=True
        )
        imports.append(time.perf_counter() - start)
        out = subprocess.run(  # noqa: ASYNC221
            [sys.executable, __file__, "--resume"], capture_output=True, text=True, check=True
        )
        first.append(float(out.stdout.split()[-1]))
    ours, bare = statistics.median(first), statistics.median(imports)
    return Figure(
        "resume of 100,000 tasks, 99,000 done, until the first runs: against importing the runner",
        ours / bare, 10, 4, False, f"{ours:.2f} against {bare:.2f} s",
    )  # fmt: skip


ROWS: dict[str, Callable[[], Awaitable[Any]]] = {
    "no_op_tasks": no_op_tasks,
    "recorded_tasks": recorded_tasks,
    "tasks_200k": tasks_200k,
    "tasks_1m": tasks_1m,
    "small_run": small_run,
    "cold_pool": cold_pool,
    "waiting_at_once": waiting_at_once,
    "waiting_in_turn": waiting_in_turn,
    "computing": computing,
    "pool_of_2": pool_of_2,
    "pool_of_8": pool_of_8,
    "resuming": resuming,
}


# --- measured in processes of their own


def measure_cost(n: int) -> None:
    """Print the seconds of `n` no-op tasks, and the bytes each adds to memory and state file.

    The tasks and results themselves are the eval's; what else the run holds at its end is ours.
    """
    import resource  # noqa: PLC0415

    asyncio.run(run(spec(BenchEval(n=100))))
    tasks.get(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    summary = asyncio.run(run(spec(BenchEval(n=n), should_backup=False)))
    took = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    state = Path(os.environ["NANOEVAL_STATE_DIR"]) / f"{summary['run_set_id']}.db"
    print(took, ((peak - before) * 1024 + state.stat().st_size) / n)


def measure_resume() -> None:
    """Print the seconds from calling `run` on a file of 99,000 results until a task runs."""
    import sqlite3  # noqa: PLC0415

    first: list[float] = []

    @chz_class
    class Marked(BenchEval):
        def get_name(self) -> str:
            return "resumed"

        async def evaluate(self, task: Any) -> bool:
            if not first:
                first.append(time.perf_counter())
            return True

    name = f"resume-{os.getpid()}"
    marked = spec(Marked(n=100_000), run_set_id=name, should_backup=False)
    asyncio.run(run(marked))
    path = Path(os.environ["NANOEVAL_STATE_DIR"]) / f"{name}.db"
    connection = sqlite3.connect(path)
    connection.execute("UPDATE task SET state = 'queued', result = NULL WHERE id > 99000")
    connection.execute("UPDATE eval SET state = 'stopped', done = 99000, queued = 1000")
    connection.commit()
    connection.close()
    first.clear()
    start = time.perf_counter()
    asyncio.run(run(marked))
    print(first[0] - start)


def chz_class(cls: type) -> type:
    import chz  # noqa: PLC0415

    return chz.chz(cls)


# --- the table


def machine() -> str:
    """The machine, as the table names it."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        model = found.group(1) if found else model
    return f"{os.cpu_count()} cores ({model}), Python {platform.python_version()}, {sys.platform}"


def table(figures: list[Figure]) -> str:
    lines = [
        f"Measured on {machine()}.",
        "",
        "| work | ratio | must reach | aim | measured |",
        "|---|---|---|---|---|",
    ]
    for f in figures:
        sign = "≥" if f.higher else "≤"
        lines.append(
            f"| {f.work} | **{f.ratio:.2f}** | {sign} {f.must:g} | {sign} {f.aim:g} | {f.detail} |"
        )
    return "\n".join(lines)


def write_readme(text: str) -> None:
    """Replace what stands between the markers in README.md."""
    readme = ROOT / "README.md"
    begin, end = "<!-- engine figures -->", "<!-- /engine figures -->"
    content = readme.read_text(encoding="utf-8")
    if begin in content:
        head, rest = content.split(begin)
        tail = rest.split(end)[1]
        readme.write_text(f"{head}{begin}\n{text}\n{end}{tail}", encoding="utf-8")


async def main(names: list[str]) -> list[Figure]:
    figures: list[Figure] = []
    for name in names or list(ROWS):
        measured = await ROWS[name]()
        for figure in measured if isinstance(measured, tuple) else (measured,):
            print(f"{figure.verdict:>6}  {figure.ratio:6.2f}  {figure.work}  ({figure.detail})")
            sys.stdout.flush()
            figures.append(figure)
    return figures


if __name__ == "__main__":
    if sys.argv[1:2] == ["--cost"]:
        measure_cost(int(sys.argv[2]))
    elif sys.argv[1:2] == ["--resume"]:
        measure_resume()
    else:
        with (
            tempfile.TemporaryDirectory(
                dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None
            ) as state,
            tempfile.TemporaryDirectory() as other,
        ):
            os.environ["NANOEVAL_STATE_DIR"] = state
            os.environ["NANOEVAL_BACKUP_DIR"] = f"{other}/backups"
            os.environ["NANOEVAL_LOG_DIR"] = f"{other}/records"
            found = asyncio.run(main(sys.argv[1:]))
        if not sys.argv[1:]:
            write_readme(table(found))
        sys.exit(any(f.verdict == "MISSED" for f in found))
