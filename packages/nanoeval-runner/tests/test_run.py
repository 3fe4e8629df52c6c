"""What `run` promises, in the process that calls it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import chz
import pytest
from nanoeval_core.errors import ConfigError, RolloutSystemError, StateError, TaskTimeoutError
from nanoeval_core.eval import Eval
from nanoeval_core.recorder import dummy_recorder
from nanoeval_core.recorder_protocol import RecorderConfig
from nanoeval_core.recording import AttemptRecorder, DummyRecorder, EventEncoder
from nanoeval_core.run_context import get_run_context
from nanoeval_core.spec import EvalSpec, RunnerArgs
from nanoeval_core.task import Task
from nanoeval_core.usage import Usage, report_usage
from nanoeval_runner import run, validate
from nanoeval_runner._executors import loop as executor_loop
from nanoeval_runner._exit_stack import global_exit_stack
from nanoeval_runner._queue import backup, transactions
from nanoeval_runner._queue.connection import connect
from nanoeval_runner._queue.paths import state_dir
from nanoeval_runner.state_files import StateReader, state_paths

pytestmark = pytest.mark.usefixtures("folders")

RESUME = "nanoeval resume "


@chz.chz
class Simple(Eval[Task, Any]):
    """Tests override `evaluate`, in classes of their own."""

    n: int = 5
    name: str = "simple"

    def get_name(self) -> str:
        return self.name

    async def get_tasks(self) -> list[Task]:
        return [Task(question_id=f"q{i}") for i in range(self.n)]

    async def evaluate(self, task: Task) -> Any:
        return task.name

    async def get_summary(self, results: list[tuple[Task, Any]]) -> dict[str, Any]:
        return {"results": [result for _, result in results]}


def spec(eval: Eval[Any, Any], **runner: Any) -> EvalSpec:
    args = {"enable_slackbot": False, "should_backup": False, "retry_backoff": 0.0} | runner
    args.setdefault("recorder", dummy_recorder())
    return EvalSpec(eval=eval, runner=RunnerArgs(**args))


def answering(answer: Callable[[Task], Awaitable[Any]], **fields: Any) -> Eval[Any, Any]:
    """An eval whose `evaluate` is `answer`."""

    @chz.chz
    class Answering(Simple):
        async def evaluate(self, task: Task) -> Any:
            return await answer(task)

    eval: Eval[Any, Any] = Answering(**fields)
    return eval


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in leaves(part)]
    return [error]


def rows(folder: Path, statement: str) -> list[Any]:
    (path,) = (folder / "state").glob("*.db")
    with contextlib.closing(connect(path)) as db:
        found: list[Any] = db.execute(statement).fetchall()
    return [row[0] if len(row) == 1 else row for row in found]


# --- what comes back


def test_a_summary_with_its_ids_comes_back() -> None:
    summary = asyncio.run(run(spec(Simple())))
    assert sorted(summary["results"]) == [f"q{i}.1" for i in range(5)]
    assert summary["num_tasks"] == 5
    assert summary["is_valid"]
    assert summary["run_id"]
    assert summary["run_set_id"]


def test_runs_gathered_share_one_file_and_one_executor(folders: Path) -> None:
    """Each waits for the other's tasks: neither could finish alone."""

    async def both() -> tuple[dict[str, Any], dict[str, Any]]:
        barrier = asyncio.Barrier(6)

        async def meet(task: Task) -> str:
            await barrier.wait()
            context = get_run_context()
            assert context is not None
            return context.executor

        return await asyncio.gather(
            run(spec(answering(meet, n=3, name="one"))), run(spec(answering(meet, n=3, name="two")))
        )

    one, two = asyncio.run(both())
    assert one["run_set_id"] == two["run_set_id"]
    assert one["run_id"] != two["run_id"]
    assert set(one["results"] + two["results"]) == {"main"}
    assert rows(folders, "SELECT count(*) FROM executor") == [1]
    assert rows(folders, "SELECT name, done FROM eval ORDER BY name") == [("one", 3), ("two", 3)]


def test_the_same_eval_twice_at_once_is_two_runs() -> None:
    async def both() -> tuple[dict[str, Any], dict[str, Any]]:
        return await asyncio.gather(run(spec(Simple())), run(spec(Simple())))

    one, two = asyncio.run(both())
    assert one["run_id"] != two["run_id"]
    assert sorted(one["results"]) == sorted(two["results"]) == [f"q{i}.1" for i in range(5)]


def test_one_run_after_the_other_in_one_loop_starts_afresh() -> None:
    async def twice() -> tuple[dict[str, Any], dict[str, Any]]:
        return await run(spec(Simple())), await run(spec(Simple()))

    one, two = asyncio.run(twice())
    assert one["run_set_id"] != two["run_set_id"]


def test_nothing_is_left_when_run_returns() -> None:
    async def main() -> set[str]:
        before = asyncio.all_tasks()
        await run(spec(Simple()))
        return {task.get_name() for task in asyncio.all_tasks() - before}

    threads = set(threading.enumerate())
    assert asyncio.run(main()) == set()
    for thread in set(threading.enumerate()) - threads:
        thread.join()  # told to end when the loop did; hangs here if it was not


def test_run_works_in_a_thread(folders: Path) -> None:
    found: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(run(spec(Simple())))))
    thread.start()
    thread.join()
    assert found[0]["num_tasks"] == 5


def test_validate_records_nothing(folders: Path) -> None:
    args = RunnerArgs(should_backup=False, slack_name="#evals")
    summary = asyncio.run(validate(EvalSpec(eval=Simple(), runner=args)))
    assert summary["num_tasks"] == 5
    assert not (folders / "records").exists() or not list((folders / "records").iterdir())


def test_global_exit_stack_keeps_the_executor_between_runs(folders: Path) -> None:
    async def main() -> None:
        async with global_exit_stack:
            one = await run(spec(Simple()))
            two = await run(spec(Simple()))
        assert one["run_set_id"] == two["run_set_id"]

    asyncio.run(main())
    assert rows(folders, "SELECT state FROM executor") == ["stopped"]


@pytest.mark.parametrize("bad", [Simple, Simple(), None])
def test_something_that_is_no_spec_is_refused(bad: Any) -> None:
    with pytest.raises(ConfigError, match="run\\(\\) takes an EvalSpec, got"):
        asyncio.run(run(bad))


# --- which tasks, in which order


def test_n_tasks_takes_the_first_and_shuffle_is_seeded() -> None:
    def order(**runner: Any) -> list[str]:
        seen: list[str] = []

        async def note(task: Task) -> None:
            seen.append(task.question_id)

        asyncio.run(run(spec(answering(note, n=30), concurrency=1, **runner)))
        return seen

    first = [f"q{i}" for i in range(20)]
    assert order(n_tasks=20) == first
    shuffled = order(n_tasks=20, shuffle=True, seed=1)
    assert sorted(shuffled) == sorted(first)
    assert shuffled != first
    assert order(n_tasks=20, shuffle=True, seed=1) == shuffled
    assert order(n_tasks=20, shuffle=True, seed=2) != shuffled


# --- contexts


def test_the_context_is_entered_once_and_left_before_run_returns() -> None:
    log: list[str] = []
    outer: ContextVar[str] = ContextVar("outer")
    inner: ContextVar[str] = ContextVar("inner")

    @chz.chz
    class InContext(Simple):
        async def _context(self) -> AsyncGenerator[None, None]:
            log.append("enter")
            inner.set(outer.get() + "/inner")
            yield
            log.append("leave")

        async def evaluate(self, task: Task) -> str:
            log.append("evaluate")
            return inner.get()

    outer.set("outer")
    summary = asyncio.run(run(spec(InContext())))
    assert summary["results"] == ["outer/inner"] * 5
    assert log == ["enter", *["evaluate"] * 5, "leave"]


@pytest.mark.parametrize("when", ["enter", "leave"])
def test_a_context_that_fails_ends_the_run_with_its_exception(when: str, folders: Path) -> None:
    @chz.chz
    class Broken(Simple):
        async def _context(self) -> AsyncGenerator[None, None]:
            if when == "enter":
                raise OSError("no port")
            yield
            raise OSError("no port")

    with pytest.raises(ExceptionGroup, match=RESUME) as caught:
        asyncio.run(run(spec(Broken())))
    (leaf,) = leaves(caught.value)
    assert isinstance(leaf, OSError)
    assert "in the context of eval 'simple'" in "\n".join(leaf.__notes__)
    assert rows(folders, "SELECT done FROM eval") == [0 if when == "enter" else 5]


# --- exceptions


def test_an_exception_ends_the_eval_and_keeps_what_finished(folders: Path) -> None:
    async def main() -> None:
        finished = asyncio.Event()

        async def boom(task: Task) -> str:
            if task.question_id == "q4":
                await finished.wait()
                raise LookupError("no such model")
            if task.question_id == "q3":
                finished.set()
            return task.name

        await run(spec(answering(boom), concurrency=None))

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    (leaf,) = leaves(caught.value)
    assert isinstance(leaf, LookupError)
    assert str(leaf) == "no such model"
    notes = "\n".join(leaf.__notes__)
    for part in ("eval 'simple'", "task 'q4'", "attempt 1", "executor 'main'"):
        assert part in notes
    (run_set_id,) = rows(folders, "SELECT value FROM metadata WHERE key = 'run_set_id'")
    assert caught.value.message.endswith(RESUME + run_set_id)
    assert rows(folders, "SELECT count(*) FROM task WHERE state = 'done'") == [4]
    assert rows(folders, "SELECT question_id FROM task WHERE state = 'queued'") == ["q4"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt("typed"), "KeyboardInterrupt: typed"),
        (GeneratorExit("closed"), "GeneratorExit: closed"),
    ],
)
def test_what_no_group_may_hold_is_named(error: BaseException, said: str) -> None:
    async def leave(task: Task) -> None:
        raise error

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(run(spec(answering(leave, n=1))))
    (leaf,) = leaves(caught.value)
    assert said in str(leaf)
    assert "task 'q0'" in "\n".join(leaf.__notes__)


def test_a_result_that_cannot_be_pickled_is_named() -> None:
    async def lock(task: Task) -> Any:
        return {"fine": 1, "guard": threading.Lock()}

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(run(spec(answering(lock, n=1))))
    (leaf,) = leaves(caught.value)
    assert "result of task 'simple/q0.1'" in str(leaf)
    assert "guard" in str(leaf)


def test_one_eval_that_fails_leaves_the_others_going() -> None:
    async def main() -> list[Any]:
        failed = asyncio.Event()

        async def boom(task: Task) -> None:
            raise ValueError("boom")

        async def patient(task: Task) -> str:
            await failed.wait()
            return task.name

        async def failing() -> Any:
            try:
                return await run(spec(answering(boom, name="bad")))
            finally:
                failed.set()

        good = run(spec(answering(patient, name="good")))
        outcomes: list[Any] = await asyncio.gather(failing(), good, return_exceptions=True)
        return outcomes

    bad, good = asyncio.run(main())
    assert isinstance(bad, ExceptionGroup)
    assert good["num_tasks"] == 5


def test_cancelling_run_leaves_the_context_and_gives_tasks_back(folders: Path) -> None:
    left: list[str] = []

    async def main() -> None:
        started = asyncio.Barrier(6)

        @chz.chz
        class Held(Simple):
            async def _context(self) -> AsyncGenerator[None, None]:
                yield
                left.append("context")

            async def evaluate(self, task: Task) -> None:
                await started.wait()
                try:
                    await asyncio.Event().wait()
                finally:
                    left.append(task.name)

        running = asyncio.create_task(run(spec(Held())))
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    assert sorted(left[:5]) == [f"q{i}.1" for i in range(5)]
    assert left[5:] == ["context"]
    assert rows(folders, "SELECT DISTINCT state FROM task") == ["queued"]
    assert rows(folders, "SELECT leased FROM eval") == [0]


# --- system errors


def test_system_errors_are_retried_and_the_last_is_the_result(folders: Path) -> None:
    attempts: dict[str, list[int]] = {}

    async def flaky(task: Task) -> str:
        attempts.setdefault(task.question_id, []).append(task.retry_idx)
        if task.question_id == "q0" or task.retry_idx < int(task.question_id[1:]) % 3:
            raise RolloutSystemError(f"down, retry {task.retry_idx}")
        return "fine"

    class Errors(list[str]):
        pass

    @chz.chz
    class Seen(Simple):
        async def evaluate(self, task: Task) -> str:
            return await flaky(task)

        async def get_full_summary(self, results: list[tuple[Task, Any]]) -> dict[str, Any]:
            return {
                "errors": [str(r) for _, r in results if isinstance(r, RolloutSystemError)],
                "retries": sorted(task.retry_idx for task, _ in results),
            }

    summary = asyncio.run(run(spec(Seen(), max_retries=3)))
    assert summary["errors"] == ["down, retry 3"]
    assert summary["retries"] == [0, 1, 1, 2, 3]
    assert attempts["q0"] == [0, 1, 2, 3]
    assert attempts["q2"] == [0, 1, 2]
    (row,) = rows(folders, "SELECT done, failed, retries, queued, leased FROM eval")
    assert row == (4, 1, 7, 0, 0)


def test_a_waiting_retry_holds_no_slot() -> None:
    """With one slot, tasks behind a retry that must wait run before it."""
    order: list[str] = []

    async def flaky(task: Task) -> None:
        order.append(task.name)
        if task.question_id == "q0" and task.retry_idx == 0:
            raise RolloutSystemError("later")

    eval = answering(flaky, n=4)
    # The jittered wait is random in [0, 5 s]; this seed's is long enough for three no-ops.
    asyncio.run(run(spec(eval, concurrency=1, retry_backoff=5.0, seed=1)))
    assert order[0] == order[-1] == "q0.1"
    assert order[1:-1] == ["q1.1", "q2.1", "q3.1"]


@pytest.mark.parametrize("swallows", [False, True])
def test_a_deadline_always_fires(swallows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_loop, "CANCEL_SECONDS", 0.01)

    released = asyncio.Event()

    async def stuck(task: Task) -> str:
        while task.question_id == "q0" and not released.is_set():
            with contextlib.suppress(asyncio.CancelledError if swallows else KeyError):
                await released.wait()
        return "fine"

    @chz.chz
    class Seen(Simple):
        async def evaluate(self, task: Task) -> str:
            return await stuck(task)

        async def get_full_summary(self, results: list[tuple[Task, Any]]) -> dict[str, Any]:
            return {"results": {task.question_id: result for task, result in results}}

    async def main() -> dict[str, Any]:
        try:
            return await run(spec(Seen(n=3), max_retries=1, task_timeout=0.05))
        finally:
            released.set()

    results = asyncio.run(main())["results"]
    assert results["q1"] == results["q2"] == "fine"
    assert isinstance(results["q0"], TaskTimeoutError)
    assert str(results["q0"]) == "ran longer than task_timeout=0.05 s"  # alike for every task


# --- concurrency


@pytest.mark.parametrize(("limit", "n"), [(1, 6), (3, 10), (None, 12), (50, 12)])
def test_concurrency_is_exact(limit: int | None, n: int) -> None:
    """As many as may run do, at each time, and never one more."""
    most = 0

    async def main() -> None:
        running = 0
        full = asyncio.Event()

        async def count(task: Task) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            if running == min(limit or n, n):
                full.set()
            await full.wait()
            running -= 1

        await run(spec(answering(count, n=n), concurrency=limit))

    asyncio.run(main())
    assert most == min(limit or n, n)


def test_the_limit_can_be_changed_while_it_runs(folders: Path) -> None:
    async def main() -> None:
        wider = asyncio.Barrier(5)

        async def meet(task: Task) -> None:
            if task.question_id == "q0":  # alone until here: now let four others in
                (path,) = (folders / "state").glob("*.db")
                with contextlib.closing(connect(path)) as other:
                    transactions.set_concurrency(other, 1, 5)
            if int(task.question_id[1:]) < 5:
                await wider.wait()

        await run(spec(answering(meet, n=9), concurrency=1))

    asyncio.run(main())
    assert rows(folders, "SELECT done FROM eval") == [9]


def test_the_global_limit_holds_over_all_evals(folders: Path) -> None:
    most = 0

    async def main() -> None:
        running = 0

        async def count(task: Task) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

        async with global_exit_stack:
            await run(spec(Simple()))  # so that there is a file
            (path,) = (folders / "state").glob("*.db")
            with contextlib.closing(connect(path)) as other:
                transactions.set_concurrency(other, None, 2)
            await asyncio.gather(
                *(run(spec(answering(count, n=20, name=f"e{i}"))) for i in range(3))
            )

    asyncio.run(main())
    assert most == 2


def test_an_eval_at_its_limit_blocks_no_other() -> None:
    async def main() -> None:
        others = asyncio.Event()

        async def stuck(task: Task) -> None:
            await others.wait()

        async def finish() -> None:
            await run(spec(answering(free, n=100, name="free")))
            others.set()

        async def free(task: Task) -> None:
            pass

        await asyncio.gather(
            run(spec(answering(stuck, n=50, name="stuck"), concurrency=2)), finish()
        )

    asyncio.run(main())


# --- recording, usage, backups


def test_a_recorder_that_fails_in_an_attempt_costs_no_result(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class TornAttempt(AttemptRecorder):
        def take(self, *, completed: bool) -> bytes:
            raise UnicodeError("cannot encode")

    class TornEncoder(EventEncoder):
        def attempt(self, sample_id: str | None, group_id: str | None) -> AttemptRecorder:
            return TornAttempt(self, sample_id, group_id)

    class Torn(DummyRecorder):
        def encoder(self) -> EventEncoder:
            return TornEncoder(self.run_spec, {}, None)

    @chz.chz
    class TornConfig(RecorderConfig):
        async def factory(self, spec: EvalSpec, num_tasks: int) -> Torn:
            return Torn()

    with caplog.at_level(logging.ERROR, "nanoeval.runner"):
        summary = asyncio.run(run(spec(Simple(), recorder=TornConfig())))
    assert summary["num_tasks"] == 5
    assert sum("cannot encode" in record.getMessage() for record in caplog.records) == 1


def test_usage_is_added_up_over_attempts() -> None:
    async def spend(task: Task) -> None:
        report_usage(Usage(requests=2, prompt_tokens=10, cost=0.5))
        if task.question_id == "q0" and not task.retry_idx:
            raise RolloutSystemError("paid for nothing")

    summary = asyncio.run(run(spec(answering(spend, n=3))))
    assert summary["usage"] == {"requests": 8, "prompt_tokens": 40, "cost": 2.0}


def test_a_backup_that_fails_warns_once_and_the_run_goes_on(
    folders: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (folders / "file").touch()
    monkeypatch.setenv("NANOEVAL_BACKUP_DIR", str(folders / "file" / "below"))

    async def main() -> dict[str, Any]:
        copied = asyncio.Event()
        loop = asyncio.get_running_loop()
        real, calls = backup.copy, 0

        def copy(*args: Any, **kwargs: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                loop.call_soon_threadsafe(copied.set)
            real(*args, **kwargs)

        monkeypatch.setattr(backup, "copy", copy)

        async def patient(task: Task) -> None:
            await copied.wait()

        return await run(spec(answering(patient), should_backup=True, backup_interval=0.01))

    assert asyncio.run(main())["num_tasks"] == 5
    warnings = [r.getMessage() for r in caplog.records if "backup" in r.getMessage()]
    assert len(warnings) == 1
    assert "NANOEVAL_BACKUP_DIR" in warnings[0]


# --- run sets


def test_a_run_set_in_use_is_refused(folders: Path) -> None:
    """By another event loop here, as by another process."""
    refused: list[BaseException] = []

    async def intrude(task: Task) -> None:
        def other() -> None:
            try:
                asyncio.run(run(spec(Simple(), run_set_id="shared")))
            except StateError as error:
                refused.append(error)

        await asyncio.to_thread(other)

    asyncio.run(run(spec(answering(intrude, n=1), run_set_id="shared")))
    assert "is being run by process" in str(refused[0])


def test_a_run_that_joins_while_the_last_one_leaves_waits_for_it() -> None:
    async def main() -> list[dict[str, Any]]:
        done = asyncio.Event()

        async def first() -> dict[str, Any]:
            @chz.chz
            class Last(Simple):
                async def get_summary(self, results: list[tuple[Task, Any]]) -> dict[str, Any]:
                    if results:
                        done.set()
                    return {}

            return await run(spec(Last(name="first"), run_set_id="shared"))

        async def more(i: int) -> dict[str, Any]:
            await done.wait()
            for _ in range(i):
                await asyncio.sleep(0)
            return await run(spec(Simple(n=1, name=f"e{i}"), run_set_id="shared"))

        return await asyncio.gather(first(), *(more(i) for i in range(0, 60, 3)))

    assert len(asyncio.run(main())) == 21


def test_files_are_private(folders: Path) -> None:
    asyncio.run(run(spec(Simple(), should_backup=True)))
    for folder in (folders / "state", folders / "backups"):
        assert folder.stat().st_mode & 0o777 == 0o700
        for path in folder.iterdir():
            assert path.stat().st_mode & 0o077 == 0, path


class NoText:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_a_summary_that_json_cannot_say_costs_nothing() -> None:
    @chz.chz
    class Odd(Simple):
        async def get_summary(self, results: list[tuple[Task, Any]]) -> dict[str, Any]:
            cycle: list[Any] = []
            cycle.append(cycle)
            by = {("easy", 1): 0.5, 3: 0.25, None: 1}
            return {"by": by, "cycle": cycle, "object": NoText(), "n": len(results)}

    summary = asyncio.run(run(EvalSpec(eval=Odd(), runner=RunnerArgs(should_backup=False))))
    assert summary["by"]["easy", 1] == 0.5
    (file,) = state_paths(state_dir())
    with StateReader(file) as reader:
        (row,) = reader.read().evals
    assert row.state == "done"
    stored = json.loads(row.summary or "")
    assert stored["by"] == {"('easy', 1)": 0.5, "3": 0.25, "null": 1}
    assert "NoText object" in stored["object"]
    assert stored["n"] == 5
