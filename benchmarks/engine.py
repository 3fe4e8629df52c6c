"""What the engine costs, as ratios against bare loops measured in the same run.

    hatch run bench                      all rows, and the table in docs/performance.md made new
    python benchmarks/engine.py NAME ... some rows
    python benchmarks/engine.py --small  all rows with few tasks: whether they run, not how fast

Each figure is the median of at least five runs, the two sides taken in turn, so that a machine
whose speed drifts slows both. The bare loop runs with Python's own garbage collection, and where a
row says so with the threshold that ours has too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import gc
import operator
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nanoeval_core import EvalSpec, RunnerArgs, dummy_recorder  # noqa: E402
from nanoeval_core.recorder_protocol import find_recorder  # noqa: E402
from nanoeval_runner import run  # noqa: E402
from nanoeval_runner.setup import global_exit_stack  # noqa: E402

from benchmarks.noop_eval import CONCURRENCY, BenchEval, bare_loop, compute, tasks  # noqa: E402

GC_ALLOCATIONS = 50_000
"""The threshold of a run of the command: objects made, less those freed, between collections."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """How much is measured: everything, or a hundredth of it once."""

    small: bool = False

    @property
    def runs(self) -> int:
        return 1 if self.small else 5

    def of(self, n: int) -> int:
        """Return how many of `n` tasks are run."""
        return max(8, n // 100) if self.small else n


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
        reaches = operator.ge if self.higher else operator.le
        if reaches(self.ratio, self.aim):
            return "aim"
        return "must" if reaches(self.ratio, self.must) else "MISSED"


def spec(eval: BenchEval, **runner: Any) -> EvalSpec:
    runner = {"concurrency": CONCURRENCY, **runner}
    if "recorder" not in runner:
        runner["recorder"] = dummy_recorder()
    return EvalSpec(eval=eval, runner=RunnerArgs(**runner))


async def no_op(task: object) -> bool:
    return True


@contextlib.contextmanager
def collecting_rarely() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(GC_ALLOCATIONS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@dataclasses.dataclass(frozen=True)
class Took:
    """Seconds that passed, and seconds of this process's processor time."""

    wall: float
    cpu: float


async def timed(work: Callable[[], Awaitable[Any]]) -> Took:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


async def in_turn(*sides: Callable[[], Awaitable[Any]], runs: int) -> list[Took]:
    """Return the medians of each side, run alternately after one warm-up each."""
    for work in sides:
        await work()
    took = [[await timed(work) for work in sides] for _ in range(runs)]
    return [
        Took(statistics.median(t.wall for t in side), statistics.median(t.cpu for t in side))
        for side in zip(*took, strict=True)
    ]


# --- rows


async def _no_op(bench: Bench, n: int, runs: int) -> tuple[Took, Took, Took]:
    """`n` no-op tasks: ours, the bare loop, and the bare loop collecting rarely. So do we."""
    n = bench.of(n)
    eval = BenchEval(n=n)

    async def ours() -> None:
        with collecting_rarely():
            await run(spec(eval, should_backup=False))

    async def bare() -> None:
        await bare_loop(tasks.get(n), no_op, CONCURRENCY)

    async def tuned() -> None:
        with collecting_rarely():
            await bare()

    a, b, c = await in_turn(ours, bare, tuned, runs=runs)
    return a, b, c


def _throughput(work: str, n: int, ours: Took, bare: Took, must: float, aim: float) -> Figure:
    return Figure(
        work, bare.wall / ours.wall, must, aim, True,
        f"{n / ours.wall:,.0f} against {n / bare.wall:,.0f} tasks/s; processor time "
        f"{ours.cpu / n * 1e6:.1f} against {bare.cpu / n * 1e6:.1f} µs: {bare.cpu / ours.cpu:.2f}",
    )  # fmt: skip


async def no_op_tasks(bench: Bench) -> tuple[Figure, ...]:
    n = bench.of(10_000)
    ours, bare, tuned = await _no_op(bench, 10_000, bench.runs)
    what = "10,000 no-op tasks, in-process, dummy recorder: throughput against the bare loop's"
    return (
        _throughput(what, n, ours, bare, 0.6, 0.72),
        _throughput("the same against the bare loop collecting rarely", n, ours, tuned, 0.5, 0.72),
    )


async def no_op_tasks_200k(bench: Bench) -> tuple[Figure, ...]:
    n = bench.of(200_000)
    ours, bare, tuned = await _no_op(bench, 200_000, bench.runs)
    what = "200,000 no-op tasks: throughput against the bare loop's, collecting rarely like ours"
    return (
        _throughput(what, n, ours, tuned, 0.7, 0.95),
        _throughput("the same against the bare loop as Python runs it", n, ours, bare, 0.7, 0.95),
    )


async def recorded_tasks(bench: Bench) -> Figure:
    n = bench.of(10_000)
    eval = BenchEval(n=n, record=True)
    recorder = find_recorder("evallib")()

    async def ours() -> None:
        with collecting_rarely():
            await run(spec(eval, recorder=recorder, should_backup=False))

    recorded, bare = await in_turn(
        ours, lambda: bare_loop(tasks.get(n), no_op, CONCURRENCY), runs=bench.runs
    )
    return _throughput(
        "10,000 tasks, default recorder, one match each: throughput against the bare loop's",
        n, recorded, bare, 0.20, 0.35,
    )  # fmt: skip


def _cost(n: int) -> dict[str, float]:
    """Seconds and bytes a task of `n` no-op tasks, measured in a process of its own."""
    out = subprocess.run(
        [sys.executable, __file__, "--cost", str(n)], capture_output=True, text=True, check=True
    )
    took, memory = out.stdout.split()
    return {"seconds": float(took), "bytes": float(memory)}


async def _many(bench: Bench, n: int, runs: int) -> tuple[Figure, Figure]:
    few, n = bench.of(10_000), bench.of(n)
    small, large = [], []
    for _ in range(runs):
        small.append(_cost(few))
        large.append(_cost(n))
    per_small = statistics.median(c["seconds"] for c in small) / few
    per_large = statistics.median(c["seconds"] for c in large) / n
    memory = statistics.median(c["bytes"] for c in large)
    return (
        Figure(
            f"{n:,} no-op tasks: cost per task against that at {few:,}",
            per_large / per_small, 1.3, 1.1, False,
            f"{per_large * 1e6:.1f} against {per_small * 1e6:.1f} µs",
        ),
        Figure(
            f"{n:,} no-op tasks: memory per task, state file included (kB)",
            memory / 1000, 2.5, 1.5, False, f"{memory:,.0f} bytes",
        ),
    )  # fmt: skip


async def cost_at_200k(bench: Bench) -> tuple[Figure, Figure]:
    return await _many(bench, 200_000, bench.runs)


async def cost_at_1m(bench: Bench) -> tuple[Figure, Figure]:
    return await _many(bench, 1_000_000, 1)


async def small_run(bench: Bench) -> Figure:
    eval = BenchEval(n=12)

    async def python() -> None:
        await (await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")).wait()

    ours, bare = await in_turn(lambda: run(spec(eval)), python, runs=3 * bench.runs)
    return Figure(
        "12 no-op tasks, `run` called in a started process: wall time against `python -c pass`",
        ours.wall / bare.wall, 3.0, 1.5, False,
        f"{ours.wall * 1e3:.1f} against {bare.wall * 1e3:.1f} ms",
    )  # fmt: skip


def _first(code: str) -> float:
    """Return the seconds of a process that runs `code`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)
    return time.perf_counter() - start


async def first_run(bench: Bench) -> Figure:
    """A script that runs one small eval, its imports included."""
    ours = (
        "import asyncio; from benchmarks.noop_eval import BenchEval; "
        "from nanoeval_core import EvalSpec, RunnerArgs, dummy_recorder; "
        "from nanoeval_runner import run; runner = RunnerArgs(recorder=dummy_recorder()); "
        "asyncio.run(run(EvalSpec(eval=BenchEval(n=12), runner=runner)))"
    )
    bare = "import asyncio, sqlite3, benchmarks.noop_eval"
    pairs = [(_first(ours), _first(bare)) for _ in range(bench.runs)]
    theirs = statistics.median(b for _, b in pairs)
    return Figure(
        "a script with 12 no-op tasks, imports included: against importing core, asyncio, sqlite3",
        statistics.median(a for a, _ in pairs) / theirs, 2.0, 1.5, False,
        f"{statistics.median(a for a, _ in pairs):.2f} against {theirs:.2f} s",
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


async def cold_pool(bench: Bench) -> Figure:
    eval = BenchEval(n=100)
    runner: dict[str, Any] = {"experimental_use_multiprocessing": True, "num_processes": 2}

    async def spawns() -> None:
        await asyncio.to_thread(_spawn_two)

    ours, bare = await in_turn(lambda: run(spec(eval, **runner)), spawns, runs=bench.runs)
    return Figure(
        "100 no-op tasks on a cold pool of 2 processes: wall time against two bare spawns",
        ours.wall / bare.wall, 2.5, 1.5, False,
        f"{ours.wall * 1e3:.0f} against {bare.wall * 1e3:.0f} ms",
    )  # fmt: skip


async def _waiting(bench: Bench, n: int, concurrency: int) -> list[Took]:
    n, concurrency = bench.of(n), bench.of(concurrency)
    each = 0.01 if bench.small else 1.0

    async def wait(task: object) -> bool:
        await asyncio.sleep(each)
        return True

    eval = BenchEval(n=n, wait=each)
    return await in_turn(
        lambda: run(spec(eval, concurrency=concurrency)),
        lambda: bare_loop(tasks.get(n), wait, concurrency),
        runs=bench.runs if n == concurrency else min(3, bench.runs),
    )


async def waiting_at_once(bench: Bench) -> Figure:
    ours, bare = await _waiting(bench, 4096, 4096)
    return Figure(
        "4,096 tasks that wait 1 s, concurrency 4,096: wall time against the bare loop's",
        ours.wall / bare.wall, 1.25, 1.1, False, f"{ours.wall:.2f} against {bare.wall:.2f} s",
    )  # fmt: skip


async def waiting_in_turn(bench: Bench) -> Figure:
    ours, bare = await _waiting(bench, 8192, 512)
    return Figure(
        "8,192 tasks that wait 1 s, concurrency 512: throughput against the bare loop's",
        bare.wall / ours.wall, 0.95, 0.98, True, f"{ours.wall:.2f} against {bare.wall:.2f} s",
    )  # fmt: skip


def _compute_many(n: int, each: float) -> None:
    for _ in range(n):
        compute(each)


async def computing(bench: Bench) -> Figure:
    n, each = bench.of(400), 0.02
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

    ours, bare = await in_turn(lambda: run(spec(eval, **runner)), two, runs=bench.runs)
    return Figure(
        "400 tasks of 20 ms CPU on 2 processes, pool start included: against two bare processes",
        bare.wall / ours.wall, 0.85, 0.93, True, f"{ours.wall:.2f} against {bare.wall:.2f} s",
    )  # fmt: skip


async def _pool_up(bench: Bench, processes: int, must: float) -> Figure:
    n = bench.of(20_000)
    runner = {"experimental_use_multiprocessing": True, "num_processes": processes}
    async with global_exit_stack:
        ours, alone = await in_turn(
            lambda: run(spec(BenchEval(n=n), **runner)),
            lambda: run(spec(BenchEval(n=n))),
            runs=bench.runs,
        )
    return Figure(
        f"20,000 no-op tasks, {processes} processes on one file, pool up: against in-process",
        alone.wall / ours.wall, must, 1.2, True,
        f"{n / ours.wall:,.0f} against {n / alone.wall:,.0f} tasks/s",
    )  # fmt: skip


async def pool_of_2(bench: Bench) -> Figure:
    return await _pool_up(bench, 2, 1.0)


async def pool_of_8(bench: Bench) -> Figure:
    return await _pool_up(bench, 8, 0.7)


async def gathered(bench: Bench) -> Figure:
    """Many evals at once, in one run set; each has a record of its own."""
    n = bench.of(1000)
    evals = [BenchEval(n=1) for _ in range(n)]

    async def ours() -> None:
        recorder = find_recorder("evallib")()
        await asyncio.gather(*(run(spec(eval, recorder=recorder)) for eval in evals))

    (took,) = await in_turn(ours, runs=min(3, bench.runs))
    return Figure(
        f"{n:,} gathered evals of one task, default recorder: seconds of processor time",
        took.cpu, 3.0, 2.0, False, f"{took.cpu / n * 1e3:.2f} ms an eval, {took.wall:.1f} s",
    )  # fmt: skip


def _executors(n: int) -> dict[str, float]:
    """Processor seconds and MB of `n` executors, measured in a process of its own."""
    out = subprocess.run(
        [sys.executable, __file__, "--executors", str(n)],
        capture_output=True,
        text=True,
        check=True,
    )
    took, memory = out.stdout.split()
    return {"seconds": float(took), "megabytes": float(memory)}


async def executors_32(bench: Bench) -> tuple[Figure, Figure]:
    n = 2 if bench.small else 32
    found = [_executors(n) for _ in range(min(3, bench.runs))]
    seconds = statistics.median(f["seconds"] for f in found)
    megabytes = statistics.median(f["megabytes"] for f in found)
    return (
        Figure(
            f"{n} executors started, a task run on each: seconds of their processor time",
            seconds, 2.0, 1.0, False, f"{seconds / n * 1e3:.0f} ms each",
        ),
        Figure(
            f"{n} executors: memory of each that no other process shares (MB)",
            megabytes, 25, 15, False, "unique set size",
        ),
    )  # fmt: skip


async def resuming(bench: Bench) -> Figure:
    imports, first = [], []
    for _ in range(bench.runs):
        # What a run imports: the package itself loads it when it is needed.
        imports.append(_first("from nanoeval_runner import run; import nanoeval_runner._run"))
        out = subprocess.run(  # noqa: ASYNC221  nothing else is on this loop
            [sys.executable, __file__, "--resume", str(bench.of(100_000))],
            capture_output=True,
            text=True,
            check=True,
        )
        first.append(float(out.stdout.split()[-1]))
    ours, bare = statistics.median(first), statistics.median(imports)
    return Figure(
        "resume of 100,000 tasks, 99,000 done, until the first runs: against importing the runner",
        ours / bare, 10, 4, False, f"{ours:.2f} against {bare:.2f} s",
    )  # fmt: skip


ROWS: dict[str, Callable[[Bench], Awaitable[Figure | tuple[Figure, ...]]]] = {
    "no_op_tasks": no_op_tasks,
    "no_op_tasks_200k": no_op_tasks_200k,
    "recorded_tasks": recorded_tasks,
    "cost_at_200k": cost_at_200k,
    "cost_at_1m": cost_at_1m,
    "small_run": small_run,
    "first_run": first_run,
    "cold_pool": cold_pool,
    "waiting_at_once": waiting_at_once,
    "waiting_in_turn": waiting_in_turn,
    "computing": computing,
    "pool_of_2": pool_of_2,
    "pool_of_8": pool_of_8,
    "executors_32": executors_32,
    "gathered": gathered,
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
    with collecting_rarely():
        summary = asyncio.run(run(spec(BenchEval(n=n), should_backup=False)))
    took = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    state = Path(os.environ["NANOEVAL_STATE_DIR"]) / f"{summary['run_set_id']}.db"
    print(took, ((peak - before) * 1024 + state.stat().st_size) / n)


def measure_executors(n: int) -> None:
    """Print the processor seconds of `n` executors that have run a task, and the MB of each."""
    import psutil  # noqa: PLC0415

    async def main() -> None:
        runner = {"experimental_use_multiprocessing": True, "num_processes": n, "concurrency": n}
        async with global_exit_stack:
            await run(spec(BenchEval(n=n, wait=0.2), should_backup=False, **runner))
            found = psutil.Process().children(recursive=True)
            # Those they are forked from are counted too.
            seconds = sum(sum(process.cpu_times()[:2]) for process in found)
            memory = sorted(process.memory_full_info().uss for process in found)[-n:]
        print(seconds, statistics.mean(memory) / 1e6)

    asyncio.run(main())


def measure_resume(n: int) -> None:
    """Print the seconds from calling `run` on a file with 99 % of `n` results until a task runs."""
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
    marked = spec(Marked(n=n), run_set_id=name, should_backup=False)
    asyncio.run(run(marked))
    path = Path(os.environ["NANOEVAL_STATE_DIR"]) / f"{name}.db"
    connection = sqlite3.connect(path)
    done = n * 99 // 100
    connection.execute("DELETE FROM result WHERE task_id > ?", (done,))
    connection.execute("INSERT INTO queue_span VALUES (1, ?, ?)", (done + 1, n))
    connection.execute("UPDATE eval SET state = 'stopped', done = ?, queued = ?", (done, n - done))
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


def write_page(text: str) -> None:
    """Replace what stands between the marks in docs/performance.md."""
    page = ROOT / "docs/performance.md"
    begin, end = "<!-- engine figures -->", "<!-- /engine figures -->"
    head, rest = page.read_text(encoding="utf-8").split(begin)
    page.write_text(f"{head}{begin}\n{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")


async def measure(names: list[str], bench: Bench) -> list[Figure]:
    figures: list[Figure] = []
    for name in names or list(ROWS):
        measured = await ROWS[name](bench)
        for figure in measured if isinstance(measured, tuple) else (measured,):
            verdict = "small" if bench.small else figure.verdict
            print(f"{verdict:>6}  {figure.ratio:6.2f}  {figure.work}  ({figure.detail})")
            sys.stdout.flush()
            figures.append(figure)
    return figures


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="row", help=f"one of: {', '.join(ROWS)}")
    parser.add_argument("--small", action="store_true", help="a quick look, not a measurement")
    asked = parser.parse_args(arguments)
    names, bench = asked.rows, Bench(small=asked.small)
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        parser.error(f"there is no row {unknown[0]!r}; there are {', '.join(ROWS)}")
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(dir=memory) as state,
        tempfile.TemporaryDirectory() as other,
    ):
        os.environ["NANOEVAL_STATE_DIR"] = state
        os.environ["NANOEVAL_BACKUP_DIR"] = f"{other}/backups"
        os.environ["NANOEVAL_LOG_DIR"] = f"{other}/records"
        found = asyncio.run(measure(names, bench))
    if bench.small:
        return 0
    if not names:
        write_page(table(found))
    return int(any(f.verdict == "MISSED" for f in found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--cost"]:
        measure_cost(int(sys.argv[2]))
    elif sys.argv[1:2] == ["--resume"]:
        measure_resume(int(sys.argv[2]))
    elif sys.argv[1:2] == ["--executors"]:
        measure_executors(int(sys.argv[2]))
    else:
        sys.exit(main(sys.argv[1:]))
