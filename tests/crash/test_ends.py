"""Runs, executors and processes end when they are to, whatever their tasks have done."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.gates import MODES, POOL, Gate
from tests.support.processes import RUN_SET, gated_run, query, until
from tests.support.script import run_python

pytestmark = pytest.mark.timeout(180)  # each starts several processes
both_modes = pytest.mark.parametrize("runner", MODES.values(), ids=MODES)
ONE = {**POOL, "num_processes": 1}


# --- signals


@both_modes
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_ends_gathered_evals_after_the_grace(
    number: signal.Signals, code: int, runner: dict[str, Any], tmp_path: Path
) -> None:
    evals = [{"n": 2, "name": "one"}, {"n": 2, "name": "two"}]
    short = runner | {"shutdown_grace": 0.05}
    with Gate() as gate, gated_run(gate, tmp_path, runner=short, evals=evals) as process:
        gate.arrivals(4)
        process.remember_family()
        os.kill(process.pid, number)
        ended, _, err = process.end()
        assert ended == code
        assert err.count("0 of 2") == 2
        process.assert_nothing_is_left()
    assert query(tmp_path, "SELECT state FROM eval") == ["stopped", "stopped"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_ends_what_resume_runs(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    evals = [{"n": 2, "name": "one"}, {"n": 2, "name": "two"}]
    short = {"shutdown_grace": 0.05}
    with Gate() as gate:
        with gated_run(gate, tmp_path, runner=short, evals=evals) as process:
            gate.arrivals(4)
            process.kill()
        with gated_run(gate, tmp_path, resume=RUN_SET) as process:
            gate.arrivals(4)
            os.kill(process.pid, number)
            assert process.end()[0] == code


@pytest.mark.parametrize(
    ("stage", "mode", "number"),
    [
        ("enter", "in_process", signal.SIGINT),
        ("enter", "pooled", signal.SIGTERM),
        ("leave", "in_process", signal.SIGTERM),
        ("leave", "pooled", signal.SIGINT),
    ],
)
def test_a_context_that_hangs_does_not_hold_an_interrupted_run(
    stage: str, mode: str, number: signal.Signals, tmp_path: Path
) -> None:
    evals = [{"n": 1, "stages": [stage]}]
    short = MODES[mode] | {"shutdown_grace": 0.5}
    with Gate() as gate, gated_run(gate, tmp_path, runner=short, evals=evals) as process:
        gate.arrival()  # stands there for ever
        process.remember_family()
        os.kill(process.pid, number)
        assert process.end()[0] == 128 + number
        process.assert_nothing_is_left()


@pytest.mark.parametrize("stage", ["enter", "leave"])
def test_a_context_that_takes_long_is_named_with_its_place(
    stage: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog looks at once, and says it from the first moment instead of the 8th second."""
    from nanoeval import run
    from nanoeval.recorder import dummy_recorder
    from nanoeval_runner._executors import watchdog

    from tests.support.gates import spec

    assert watchdog.CONTEXT_SECONDS + watchdog.HEARTBEAT_SECONDS < 10
    monkeypatch.setattr(watchdog, "CONTEXT_SECONDS", 0.0)
    monkeypatch.setattr(watchdog, "HEARTBEAT_SECONDS", 0.01)
    with Gate() as gate:
        runner = {"recorder": dummy_recorder()}
        running = run(spec(gate, n=1, stages=(stage,), runner=runner))
        thread = threading.Thread(target=lambda: asyncio.run(running))
        thread.start()
        arrival = gate.arrival()
        what = {"enter": "entering", "leave": "leaving"}[stage]
        while f"executor main: {what} the context of eval 'gated' has taken" not in caplog.text:
            time.sleep(0.01)
        assert "gates.py:" in caplog.text
        arrival.answer()
        thread.join()


def test_gathered_evals_end_when_one_cannot_sum_up(tmp_path: Path) -> None:
    code = f"""
import asyncio
from nanoeval import run
from tests.support.gates import GatedEval, spec

class Broken(GatedEval):
    async def get_summary(self, results):
        raise LookupError("no summary")

import chz, nanoeval
Broken = chz.chz(Broken)

async def main():
    good = spec({str(tmp_path / "nobody")!r}, n=1, name="good", stages=())
    bad = nanoeval.EvalSpec(
        eval=Broken(gate="", n=1, name="bad", stages=()), runner=good.runner
    )
    await asyncio.gather(run(bad), *(run(good) for _ in range(3)))

asyncio.run(main())
"""
    done = run_python("-c", code, folder=tmp_path)
    assert done.returncode == 1
    assert "LookupError: no summary" in done.stderr


@pytest.mark.parametrize("turns", [0, 1, 50])
def test_a_second_cancellation_ends_gathered_evals_whose_contexts_hang(
    turns: int, tmp_path: Path
) -> None:
    """The first lets them go on for ever; it comes at three moments of the shutdown."""
    code = f"""
import asyncio
from nanoeval import EvalSpec, run
from nanoeval_runner._executors import loop
from tests.support.gates import GatedEval, spec

loop.CANCEL_SECONDS = 0.05
left = asyncio.Event()

class Hanging(GatedEval):
    async def stop(self, stage, task=None):
        if stage == "leave":
            left.set()
        if stage in ("evaluate", "leave"):
            begun.set()
            await asyncio.Event().wait()

import chz
Hanging = chz.chz(Hanging)
begun = asyncio.Event()

async def main():
    runner = spec("").runner
    runs = [run(EvalSpec(eval=Hanging(gate="", name=name), runner=runner)) for name in "ab"]
    both = asyncio.gather(*runs)
    await begun.wait()
    both.cancel()
    await left.wait()
    for _ in range({turns}):
        await asyncio.sleep(0)
    both.cancel()
    try:
        await both
    except asyncio.CancelledError:
        print("cancelled")

asyncio.run(main())
"""
    done = run_python("-c", code, folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "cancelled\n"), done.stderr
    assert "cancelled, for it hangs: leaving the context of eval" in done.stderr
    assert "Traceback" not in done.stderr
    assert "destroyed" not in done.stderr


# --- executors


def test_an_executor_that_freezes_at_its_first_task_keeps_it_for_seconds(tmp_path: Path) -> None:
    """It has claimed, and its watchdog has not said yet that it lives."""
    with Gate() as gate, gated_run(gate, tmp_path, runner=ONE, evals=[{"n": 2}]) as process:
        first = gate.arrivals(2)
        psutil.Process(first[0].pid).suspend()
        # 15 seconds later:
        later = "UPDATE executor SET lease_until = lease_until - 15 WHERE state = 'running'"
        query(tmp_path, later)
        again = gate.arrivals(2)
        assert {a.pid for a in again}.isdisjoint({first[0].pid})
        for arrival in again:
            arrival.answer()
        (summary,) = process.summaries()
        assert summary["n"] == 2


def test_an_executor_that_dies_is_replaced_though_its_children_live(tmp_path: Path) -> None:
    """They inherit its pipe: its end never comes. The kernel says that the process is gone."""
    with Gate() as gate, gated_run(gate, tmp_path, runner=ONE, evals=[{"n": 1}]) as process:
        first = gate.arrival()
        first.answer("die with heirs")
        again = gate.arrival()
        assert again.pid != first.pid
        heirs = [
            running
            for running in psutil.process_iter(["name", "environ"])
            if running.info["name"] == "sleep" and str(tmp_path) in str(running.info["environ"])
        ]
        assert heirs, "it was replaced when they had ended"
        for heir in heirs:
            heir.kill()
        again.answer()
        (summary,) = process.summaries()
        assert summary["n"] == 1


def test_a_child_that_a_dead_driver_forked_does_not_hold_its_run_set(tmp_path: Path) -> None:
    with Gate() as gate, gated_run(gate, tmp_path, evals=[{"n": 2}]) as driver:
        forking, _ = gate.arrivals(2)
        forking.answer("fork")
        until(tmp_path, "SELECT leased FROM eval", [1])
        forked = driver.remember_family()
        driver.kill()
        gate.open_for_all()
        with gated_run(gate, tmp_path, resume=RUN_SET) as process:
            (summary,) = process.summaries()
        assert summary["n"] == 2
        assert forked
        assert all(child.status() != psutil.STATUS_ZOMBIE for child in forked)


def test_each_executor_has_a_slot_and_its_replacement_inherits_it(tmp_path: Path) -> None:
    with Gate() as gate, gated_run(gate, tmp_path, runner=POOL, evals=[{"n": 4}]) as process:
        first = gate.arrivals(4)
        victim = first[0].pid
        psutil.Process(victim).kill()
        for arrival in first:
            if arrival.pid != victim:
                arrival.answer("slot")
        again = [a for a in first if a.pid == victim]
        for _ in again:
            gate.arrival().answer("slot")
        (summary,) = process.summaries()
    slots = {tuple(result) for result in summary["results"]}
    assert slots <= {(0, "0"), (1, "1")}


def test_an_executor_says_that_it_lives_before_it_has_a_task(tmp_path: Path) -> None:
    """From then on its silence is noticed after seconds, not after the minutes of a start."""
    with Gate() as gate, gated_run(gate, tmp_path, runner=ONE, evals=[{"n": 1}]) as process:
        arrival = gate.arrival()
        (until_when,) = query(tmp_path, "SELECT lease_until FROM executor WHERE state = 'running'")
        assert until_when - time.monotonic() < 16
        arrival.answer()
        process.summaries()


def test_what_tasks_start_in_a_pool_can_be_interrupted(tmp_path: Path) -> None:
    with Gate() as gate, gated_run(gate, tmp_path, runner=ONE, evals=[{"n": 1}]) as process:
        gate.arrival().answer("interruptible")
        (summary,) = process.summaries()
    assert "default_int_handler" in summary["results"][0]


# --- processes

PROGRAM = """
import asyncio, threading
import chz
from nanoeval import Eval, EvalSpec, RunnerArgs, Task, run
from nanoeval.recorder import dummy_recorder

@chz.chz
class Program(Eval[Task, bool]):
    n: int = 1
    def get_name(self): return "program"
    async def get_tasks(self): return [Task(question_id=str(i)) for i in range(self.n)]
    async def get_summary(self, results): return {"n": len(results)}
    async def evaluate(self, task):
        return await evaluate(task)

EVALUATE

if __name__ == "__main__":
    runner = RunnerArgs(recorder=dummy_recorder(), should_backup=False, concurrency=200, RUNNER)
    print(asyncio.run(run(EvalSpec(eval=Program(n=N), runner=runner)))["n"])
"""


def program(evaluate: str, folder: Path, n: int = 1, runner: str = "", **environment: str) -> Any:
    script = folder / "program.py"
    text = PROGRAM.replace("EVALUATE", evaluate).replace("RUNNER", runner).replace("n=N", f"n={n}")
    script.write_text(text)
    return run_python(script, folder=folder, **environment)


POOLED = "experimental_use_multiprocessing=True, num_processes=1"


@pytest.mark.parametrize("runner", ["", POOLED], ids=["in_process", "pooled"])
def test_as_many_threads_as_tasks_in_flight(runner: str, tmp_path: Path) -> None:
    """Each waits for all the others: Python's own pool of threads would be full long before."""
    evaluate = """
barrier = threading.Barrier(100)

async def evaluate(task):
    await asyncio.to_thread(barrier.wait)
"""
    done = program(evaluate, tmp_path, n=100, runner=runner)
    assert done.stdout == "100\n", done.stderr


def test_a_pool_starts_where_the_temp_folder_has_a_long_path(tmp_path: Path) -> None:
    """No socket can be there, which a process that others are forked from listens at."""
    long = tmp_path / ("long" * 40)
    long.mkdir()
    evaluate = "async def evaluate(task): pass"
    done = program(evaluate, tmp_path, n=3, runner=POOLED, TMPDIR=str(long))
    assert done.stdout == "3\n", done.stderr


@pytest.mark.parametrize("runner", ["", POOLED], ids=["in_process", "pooled"])
def test_a_thread_that_never_ends_does_not_hold_the_process(runner: str, tmp_path: Path) -> None:
    evaluate = """
async def evaluate(task):
    started = threading.Event()
    def hang():
        started.set()
        threading.Event().wait()
    asyncio.get_running_loop().run_in_executor(None, hang)
    while not started.is_set():
        await asyncio.sleep(0)
"""
    done = program(evaluate, tmp_path, runner=runner)
    assert done.returncode == 0
    assert done.stdout == "1\n"


def test_a_thread_that_python_waits_for_does_not_hold_a_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import threading\n"
        "from nanoeval.setup import nanoeval_entrypoint\n"
        "async def main():\n"
        "    threading.Thread(target=threading.Event().wait, name='forgotten').start()\n"
        "    raise SystemExit(7)\n"
        "nanoeval_entrypoint(main())\n"
    )
    done = run_python(script, folder=tmp_path)
    assert done.returncode == 7
    assert "left behind: threads that tasks began: forgotten" in done.stderr


@pytest.mark.parametrize("ignored", ["asyncio.CancelledError", "BaseException"])
def test_a_task_that_swallows_its_cancellation_does_not_hold_the_process(
    ignored: str, tmp_path: Path
) -> None:
    """Nor does one that goes on when it is finalized, in a place that raises at once."""
    evaluate = """
from nanoeval_runner._executors import loop
loop.CANCEL_SECONDS = 0.05

async def evaluate(task):
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            pass
"""
    evaluate = evaluate.replace("asyncio.CancelledError", ignored)
    done = program(evaluate, tmp_path, runner="task_timeout=0.05, max_retries=0")
    assert done.returncode == 0
    assert "left behind: task 'program/0.1'" in done.stderr
    assert "destroyed" not in done.stderr


@pytest.mark.parametrize("runner", ["", POOLED], ids=["in_process", "pooled"])
def test_what_a_task_began_does_not_hold_the_process(runner: str, tmp_path: Path) -> None:
    evaluate = """
from nanoeval_runner._executors import loop
loop.CANCEL_SECONDS = 0.05
begun = []

async def stubborn():
    while True:
        try:
            await asyncio.sleep(1000)
        except BaseException:
            pass

async def evaluate(task):
    begun.append(asyncio.create_task(stubborn(), name="sisyphus"))
"""
    done = program(evaluate, tmp_path, runner=runner)
    assert done.returncode == 0
    assert done.stdout == "1\n"
    assert "asyncio task 'sisyphus', which task 'program/0.1' began" in done.stderr
    assert "destroyed" not in done.stderr
    assert "stubborn (" in done.stderr


def test_what_a_task_began_goes_on_while_the_event_loop_does(tmp_path: Path) -> None:
    evaluate = """
begun = []

async def long():
    try:
        await asyncio.Event().wait()
    finally:
        print("cleaned up")

async def evaluate(task):
    begun.append(asyncio.create_task(long()))

async def main():
    runner = RunnerArgs(recorder=dummy_recorder(), should_backup=False)
    for _ in range(2):
        await run(EvalSpec(eval=Program(), runner=runner))
    print([task.done() for task in begun])

asyncio.run(main())
raise SystemExit
"""
    done = program(evaluate, tmp_path)
    assert done.stdout == "[False, False]\ncleaned up\ncleaned up\n", done.stderr


ENTERED = """
from nanoeval.setup import nanoeval_entrypoint

async def main():
    runner = RunnerArgs(recorder=dummy_recorder(), should_backup=False, RUNNER)
    print((await run(EvalSpec(eval=Program(n=3), runner=runner)))["n"])

if __name__ == "__main__":
    nanoeval_entrypoint(main())
    raise SystemExit
"""


@pytest.mark.parametrize("runner", ["", POOLED], ids=["in_process", "pooled"])
@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "SystemExit(4)"])
def test_an_exit_in_what_a_task_began_is_that_tasks_outcome(
    raised: str, runner: str, tmp_path: Path
) -> None:
    evaluate = f"""
async def leave():
    raise {raised}

async def evaluate(task):
    await asyncio.create_task(leave())
"""
    entered = ENTERED.replace("RUNNER", runner)
    done = program(evaluate + entered, tmp_path)
    assert done.returncode == 1
    assert "does not end the run: it was raised in what a task began" in done.stderr
    assert f"evaluate raised {raised.partition('(')[0]}" in done.stderr
    assert "ran task '0', attempt 1, retry 0" in done.stderr
    assert "died" not in done.stderr


EXITS_UNAWAITED = """
import sys

async def evaluate(task):
    asyncio.get_running_loop().call_soon(sys.exit, 9)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
"""


def test_an_exit_that_nobody_awaits_costs_nothing(tmp_path: Path) -> None:
    done = program(EXITS_UNAWAITED + ENTERED.replace("RUNNER", ""), tmp_path)
    assert done.returncode == 0
    assert done.stdout == "3\n"


def test_an_exit_that_nobody_awaits_is_not_reported_with_what_ends_the_run(tmp_path: Path) -> None:
    evaluate = f'{EXITS_UNAWAITED}    raise ValueError("what ends it")\n'
    done = program(evaluate + ENTERED.replace("RUNNER", ""), tmp_path)
    assert done.returncode == 1
    assert "ValueError: what ends it" in done.stderr
    assert "never retrieved" not in done.stderr


def test_a_program_that_exits_closes_what_it_began(tmp_path: Path) -> None:
    entered = """
from nanoeval.setup import nanoeval_entrypoint

async def steps():
    try:
        yield
    finally:
        print("steps are closed")

async def serve():
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        print("server is closed")

async def main():
    begun = steps()
    await anext(begun)
    serving = asyncio.create_task(serve())
    await asyncio.sleep(0)
    raise SystemExit(4)

if __name__ == "__main__":
    nanoeval_entrypoint(main())
"""
    done = program(entered, tmp_path)
    assert done.returncode == 4
    assert done.stdout == "server is closed\nsteps are closed\n"
    assert not done.stderr


def test_a_program_that_waits_for_a_thread_says_for_which(tmp_path: Path) -> None:
    """A script is not ours to end: its thread ends here once the message is there."""
    evaluate = """
from nanoeval_runner._executors import threads
threads.END_SECONDS = 0.05

def forgotten():
    threading.main_thread().join()
    for thread in threading.enumerate():
        if thread.name == "nanoeval-left-threads":
            thread.join()

async def evaluate(task):
    threading.Thread(target=forgotten, name="forgotten").start()
"""
    done = program(evaluate, tmp_path)
    assert done.returncode == 0
    assert "the process waits for threads that were begun during a run: forgotten" in done.stderr


def test_the_command_waits_for_no_thread(tmp_path: Path) -> None:
    evaluate = """
from nanoeval_runner._executors import threads
threads.END_SECONDS = 0.05

async def evaluate(task):
    threading.Thread(target=threading.Event().wait, name="forgotten").start()
"""
    text = PROGRAM.partition('if __name__ == "__main__"')[0].replace("EVALUATE", evaluate)
    (tmp_path / "program.py").write_text(text)
    done = run_python("-m", "nanoeval", "run", str(tmp_path / "program.py"), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "left behind: threads that tasks began: forgotten" in done.stderr


def test_nothing_runs_at_concurrency_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOEVAL_ALLOW_ZERO_CONCURRENCY", "1")
    monkeypatch.setenv("NANOEVAL_STATE_DIR", str(tmp_path / "state"))
    from nanoeval import run
    from nanoeval.recorder import dummy_recorder

    from tests.support.gates import spec

    runner = {"concurrency": 0, "recorder": dummy_recorder(), "run_set_id": RUN_SET}

    async def main() -> None:
        running = asyncio.create_task(run(spec("nobody", n=3, runner=runner)))
        states: list[str] = []
        while states != ["running"]:
            await asyncio.sleep(0)
            with contextlib.suppress(sqlite3.OperationalError):  # there is no file or table yet
                states = query(tmp_path, "SELECT state FROM eval")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join()
    assert query(tmp_path, "SELECT queued, leased FROM eval") == [(3, 0)]
