"""What `run` promises when tasks run in other processes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import chz
import pytest
from nanoeval import EvalSpec, RunnerArgs, Task, run
from nanoeval.recorder import dummy_recorder
from nanoeval_runner._queue import transactions
from nanoeval_runner._queue.connection import connect
from nanoeval_runner._queue.paths import create_private
from nanoeval_runner._queue.rows import Completion, ExchangeRequest, NewEval

from tests.support.gates import MODES, POOL, Gate, GatedEval, spec
from tests.support.processes import gated_run, query
from tests.support.script import ROOT, environment

pytestmark = [
    pytest.mark.usefixtures("folders"),
    pytest.mark.timeout(180),  # each starts several processes
]


@contextlib.contextmanager
def running(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it in a thread, so that the test can stand at the gate; gives where its outcome goes."""
    outcome: list[Any] = []

    def target() -> None:
        try:
            outcome.append(asyncio.run(coroutine))
        except BaseException as error:  # noqa: BLE001  the test looks at it
            outcome.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    yield outcome
    thread.join()


def only_leaf(error: Any) -> BaseException:
    assert isinstance(error, ExceptionGroup), error
    (leaf,) = error.exceptions
    return leaf


@pytest.mark.parametrize(
    ("word", "kind", "said"),
    [
        ("boom", ValueError, "boom in q0.1"),
        ("exit", Exception, "SystemExit: 7"),
        ("typed", Exception, "KeyboardInterrupt"),
        ("closed", Exception, "GeneratorExit"),
        ("two parts", Exception, "TwoPartError: cannot come back"),
        ("lock", Exception, "result of task 'gated/q0.1' cannot be pickled"),
        ("unreadable", Exception, "result of task 'gated/q0.1' can be pickled, but not read again"),
        ("deep", RecursionError, "recursion"),
        ("mute", Exception, "MuteError: <its __str__ raised RuntimeError>"),
    ],
)
def test_what_ends_an_attempt_in_a_pool_comes_back_by_name(
    word: str, kind: type[Exception], said: str, folders: Path
) -> None:
    pool = {**POOL, "num_processes": 1}
    with Gate() as gate:
        with running(run(spec(gate, n=1, runner=pool))) as outcome:
            gate.arrival().answer(word)
        leaf = only_leaf(outcome[0])
    assert isinstance(leaf, kind)
    assert said in str(leaf)
    notes = "\n".join(leaf.__notes__)
    assert "task 'q0', attempt 1, retry 0, on executor 'pool-1'" in notes
    assert "traceback in the executor" in notes
    assert "nanoeval resume " in outcome[0].message


@pytest.mark.parametrize("runner", MODES.values(), ids=MODES)
def test_a_cancellation_that_nobody_sent_is_retried(runner: dict[str, Any], folders: Path) -> None:
    with Gate() as gate:
        with running(run(spec(gate, n=1, runner=runner))) as outcome:
            gate.arrival().answer("cancelled")
            again = gate.arrival()
            assert again.retry == 1
            again.answer()
        assert outcome[0]["n"] == 1


@pytest.mark.parametrize("word", ["typed", "closed", "exit", "unreadable", "deep", "mute", "lock"])
def test_what_ends_an_attempt_in_the_driver_comes_back_by_name(word: str, folders: Path) -> None:
    with Gate() as gate:
        with running(run(spec(gate, n=1))) as outcome:
            gate.arrival().answer(word)
        leaf = only_leaf(outcome[0])
    assert "task 'q0', attempt 1, retry 0, on executor 'main'" in "\n".join(leaf.__notes__)


def test_concurrency_is_exact_over_processes_and_changes_from_another(folders: Path) -> None:
    with Gate() as gate:
        with running(run(spec(gate, n=12, runner={**POOL, "concurrency": 3}))) as outcome:
            inside = gate.arrivals(3)
            (path,) = (folders / "state").glob("*.db")

            def leased() -> list[Any]:
                return query(folders, "SELECT leased FROM eval", path.stem)

            assert leased() == [3]
            inside.pop().answer()
            inside.append(gate.arrival())
            assert leased() == [3]
            change = (
                "import sys, pathlib; from nanoeval_runner._queue import connection, transactions; "
                "c = connection.connect(pathlib.Path(sys.argv[1])); "
                "transactions.set_concurrency(c, 1, 5)"
            )
            subprocess.run([sys.executable, "-c", change, str(path)], check=True)
            inside += gate.arrivals(2)
            assert leased() == [5]
            for arrival in inside:
                arrival.answer()
            gate.answer_all(6)
        assert outcome[0]["n"] == 12


def test_executors_have_the_environment_of_their_run(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("one", "two"):
        monkeypatch.setenv("SET_LATER", value)
        with Gate() as gate:
            with running(run(spec(gate, n=1, runner={**POOL, "num_processes": 1}))) as outcome:
                gate.arrival().answer("environment")
            assert outcome[0]["results"] == [value]


def test_each_executor_enters_the_context_once_and_says_who_it_is(folders: Path) -> None:
    stages = ("enter", "evaluate", "leave")
    with Gate() as gate:
        with running(run(spec(gate, n=4, stages=stages, runner=POOL))) as outcome:
            entering = gate.arrivals(2)
            assert {a.stage for a in entering} == {"enter"}
            for arrival in entering:
                arrival.answer()
            pids = {a.pid: a.executor for a in entering}
            inside = gate.arrivals(4)
            assert {a.pid for a in inside} <= pids.keys()
            for arrival in inside:
                arrival.answer()
            leaving = gate.answer_all(2)
            assert {(a.stage, a.pid) for a in leaving} == {("leave", pid) for pid in pids}
        assert outcome[0]["n"] == 4
    (path,) = (folders / "state").glob("*.db")
    rows = query(folders, "SELECT pid, name, pool, state FROM executor", path.stem)
    assert sorted(rows) == sorted((p, n, "multiprocess", "stopped") for p, n in pids.items())
    assert os.getpid() not in pids


def test_a_context_that_cannot_be_entered_in_a_pool_ends_the_run(folders: Path) -> None:
    pool = {**POOL, "num_processes": 1}
    with Gate() as gate:
        with running(run(spec(gate, n=1, stages=("enter",), runner=pool))) as outcome:
            gate.arrival().answer("boom")
        leaf = only_leaf(outcome[0])
    assert isinstance(leaf, OSError)
    assert str(leaf) == "cannot enter"
    assert "in the context of eval 'gated'" in "\n".join(leaf.__notes__)


@pytest.mark.parametrize("runner", MODES.values(), ids=MODES)
def test_a_context_that_cannot_be_left_ends_the_run_alike_everywhere(
    runner: dict[str, Any], folders: Path
) -> None:
    with Gate() as gate:
        with running(run(spec(gate, n=1, stages=("leave",), runner=runner))) as outcome:
            gate.arrival().answer("boom")
            if runner:  # the other process of the pool entered it too
                gate.open_for_all()
        leaf = only_leaf(outcome[0])
    assert str(leaf) == "cannot leave"
    assert "in the context of eval 'gated'" in "\n".join(leaf.__notes__)
    (path,) = (folders / "state").glob("*.db")
    assert query(folders, "SELECT state, done FROM eval", path.stem) == [("failed", 1)]


def test_more_processes_than_tasks_and_system_errors_that_last(folders: Path) -> None:
    runner = {**POOL, "num_processes": 3, "max_retries": 1}
    with Gate() as gate:
        with running(run(spec(gate, n=1, runner=runner))) as outcome:
            gate.arrival().answer("system")
            again = gate.arrival()
            assert again.retry == 1
            again.answer("system")
        assert outcome[0]["n"] == 0
        assert outcome[0]["num_tasks"] == 0
        assert not outcome[0]["is_valid"]


def test_evals_gathered_share_the_pool(folders: Path) -> None:
    async def both(path: str) -> list[dict[str, Any]]:
        pool = {**POOL, "num_processes": 1}
        return await asyncio.gather(
            *(run(spec(path, n=2, name=name, runner=pool)) for name in ("one", "two"))
        )

    with Gate() as gate:
        with running(both(gate.path)) as outcome:
            inside = gate.arrivals(4)
            assert len({a.pid for a in inside}) == 1
            for arrival in inside:
                arrival.answer()
        assert [summary["n"] for summary in outcome[0]] == [2, 2]


@pytest.mark.parametrize("pooled", [False, True])
def test_evals_typed_into_an_interactive_session_run(pooled: bool, folders: Path) -> None:
    typed = textwrap.dedent(f"""
        import asyncio, chz, dataclasses, json
        from nanoeval import Eval, EvalSpec, RunnerArgs, Task, run
        from nanoeval.recorder import dummy_recorder

        class MyTask(Task):
            number: int

        @dataclasses.dataclass
        class Answer:
            number: int

        @chz.chz
        class Typed(Eval[MyTask, Answer]):
            def get_name(self):
                return "typed"
            async def get_tasks(self):
                return [MyTask(question_id=f"q{{i}}", number=i) for i in range(3)]
            async def evaluate(self, task):
                return Answer(task.number)
            async def get_summary(self, results):
                return {{"sum": sum(answer.number for _, answer in results)}}

        pool = dict(experimental_use_multiprocessing=True, num_processes=1) if {pooled} else {{}}
        args = RunnerArgs(recorder=dummy_recorder(), enable_slackbot=False, **pool)
        print(json.dumps(asyncio.run(run(EvalSpec(eval=Typed(), runner=args)))))
    """)
    lines = (
        "".join(  # an interactive session ends a block at an empty line
            ("\n" + line if line[:1] not in ("", " ") else line) + "\n"
            for line in typed.replace("@dataclasses.dataclass\n", "@dataclasses.dataclass\n").split(
                "\n"
            )
            if line.strip()
        )
        .replace("dataclass\n\nclass", "dataclass\nclass")
        .replace("chz.chz\n\nclass", "chz.chz\nclass")
    )
    ended = subprocess.run(
        [sys.executable, "-i"],
        input=lines,
        capture_output=True,
        text=True,
        check=False,
        env=environment(folders),
        cwd=ROOT,
        timeout=120,
    )
    found = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    assert found, ended.stderr
    assert found[0]["sum"] == 3


# --- hard times


@pytest.mark.parametrize(("pooled", "evals"), [(False, 1), (True, 1), (False, 3)])
def test_a_full_disk_ends_the_run_clearly_and_it_can_be_resumed(
    pooled: bool, evals: int, folders: Path
) -> None:
    """RLIMIT_FSIZE stands in for the disk: no file of the process may grow beyond it."""
    script = textwrap.dedent("""
        import asyncio, resource, sys
        from nanoeval.setup import nanoeval_entrypoint
        from nanoeval import run
        from tests.end_to_end.test_engine_pool import big_spec
        if sys.argv[1] != "0":
            limit = int(sys.argv[1])
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        async def main():
            pooled, evals = sys.argv[2] == "True", int(sys.argv[3])
            await asyncio.gather(*(run(big_spec(f"{i}", evals, pooled)) for i in range(evals)))
        nanoeval_entrypoint(main())
    """)

    def go(limit: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", script, str(limit), str(pooled), str(evals)],
            capture_output=True,
            text=True,
            check=False,
            env=environment(folders),
            cwd=ROOT,
            timeout=120,
        )

    full = go(1_500_000)
    assert full.returncode == 1
    assert "cannot write state file" in full.stderr
    assert "make room there" in full.stderr
    assert "Traceback" not in full.stderr
    (done,) = query(folders, "SELECT count(*) FROM task WHERE state = 'done'", "big")
    assert 0 < done < 60
    freed = go(0)
    assert freed.returncode == 0, freed.stderr
    assert query(folders, "SELECT count(*) FROM task WHERE state = 'done'", "big") == [60]
    assert query(folders, "SELECT count(*) FROM task", "big") == [60]


@chz.chz
class Big(GatedEval):
    async def evaluate(self, task: Task) -> bytes:
        return os.urandom(100_000)


def big_spec(name: str, evals: int, pooled: bool) -> EvalSpec:
    """One of `evals` that have 60 results of 100 kB together, one after the other."""
    args = RunnerArgs(
        run_set_id="big",
        concurrency=1,
        experimental_use_multiprocessing=pooled,
        num_processes=1 if pooled else None,
        recorder=dummy_recorder(),
        should_backup=False,
        enable_slackbot=False,
    )
    return EvalSpec(eval=Big(gate="", n=60 // evals, name=name), runner=args)


def test_a_clock_that_jumps_matters_to_nothing(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wall clock goes back a year and forward again while tasks run and retries wait."""
    real = time.time
    jumps = itertools.cycle([-3e7, 3e7, 0.0, 1e9])
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    with Gate() as gate:
        with running(run(spec(gate, n=3, runner={"max_retries": 2}))) as outcome:
            for arrival in gate.arrivals(3):
                arrival.answer("system")
            gate.answer_all(3)
        assert outcome[0]["n"] == 3
        assert outcome[0]["is_valid"]


def test_two_hundred_executors_on_one_file(folders: Path) -> None:
    """Each on a connection of its own, under a limit that all of them together must keep."""
    path = folders / "set.db"
    limit, tasks = 7, 600
    create_private(path)
    with contextlib.closing(connect(path)) as db:
        transactions.create_schema(db, "set")
        new = NewEval(
            name="e",
            run_id="r",
            pool="multiprocess",
            concurrency=limit,
            model_name=None,
            arguments="{}",
            origin="{}",
            spec=None,
            encoder=b"",
        )
        eval_id = transactions.add_eval(db, new, 0.0)
        transactions.enqueue(db, eval_id, [(f"q{i}", 1, b"", b"p") for i in range(tasks)])
        transactions.start_eval(db, eval_id)
        ids = [transactions.add_executor(db, f"x{i}", "multiprocess", 1, "h") for i in range(200)]
    done = threading.Event()
    lock = threading.Lock()
    ran: list[int] = []
    problems: list[Any] = []

    def executor(executor_id: int) -> None:
        with contextlib.closing(connect(path)) as db:
            completions: list[Completion] = []
            while not done.is_set():
                request = ExchangeRequest(executor_id, completions, 3, [eval_id], "multiprocess")
                reply = transactions.exchange(db, request)
                leased = db.execute("SELECT leased FROM eval").fetchone()[0]
                with lock:
                    ran.extend(lease.task_id for lease in reply.leases)
                    if leased > limit or reply.rejected or reply.fenced:
                        problems.append((leased, reply))
                    if len(ran) >= tasks and not reply.leases:
                        done.set()
                completions = [
                    Completion(lease.task_id, eval_id, "done", b"v") for lease in reply.leases
                ]

    threads = [threading.Thread(target=executor, args=(i,)) for i in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert sorted(ran) == list(range(1, tasks + 1))


def test_a_module_run_with_python_m_pools_what_it_defines(folders: Path) -> None:
    with (
        Gate() as gate,
        gated_run(gate, folders, module=True, runner=POOL, evals=[{"n": 3}]) as process,
    ):
        gate.answer_all(3)
        assert process.summaries()[0]["n"] == 3
        process.assert_nothing_is_left()
