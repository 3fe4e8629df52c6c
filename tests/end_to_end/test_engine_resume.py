"""Going on where a run stopped: the same command, `resume`, the live file or its backup."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import sqlite3
import textwrap
from pathlib import Path
from typing import Any

import chz
import pytest
from nanoeval import Eval, EvalSpec, RolloutSystemError, RunnerArgs, Task, resume, run
from nanoeval.errors import StateError
from nanoeval.recorder import dummy_recorder
from nanoeval_core.usage import Usage, report_usage
from nanoeval_runner import run_eval_in_database

from tests.support.script import ROOT, run_python

pytestmark = pytest.mark.usefixtures("folders")

SET = "kept"


@chz.chz
class Stopping(Eval[Task, str]):
    """Raises at one question while a file exists; leaves a line for each attempt that ran."""

    folder: str
    n: int = 6
    stops_at: str | None = "q4"
    tag: str = "a"

    def get_name(self) -> str:
        return "stopping"

    async def get_tasks(self) -> list[Task]:
        return [Task(question_id=f"q{i}") for i in range(self.n)]

    async def evaluate(self, task: Task) -> str:
        with (Path(self.folder) / "ran").open("a") as ran:
            ran.write(task.question_id + "\n")
        report_usage(Usage(requests=1, prompt_tokens=5))
        if task.question_id == self.stops_at and (Path(self.folder) / "stop").exists():
            raise ValueError("stop here")
        return task.name

    async def get_summary(self, results: list[tuple[Task, str]]) -> dict[str, Any]:
        return {"names": sorted(result for _, result in results)}


def spec(folder: Path, *, runner: dict[str, Any] | None = None, **eval: Any) -> EvalSpec:
    args: dict[str, Any] = {
        "run_set_id": SET,
        "enable_slackbot": False,
        "recorder": dummy_recorder(),
        "concurrency": 1,
        "retry_backoff": 0.0,
    }
    return EvalSpec(
        eval=Stopping(folder=str(folder), **eval), runner=RunnerArgs(**args | (runner or {}))
    )


def stopped(folder: Path, **more: Any) -> None:
    """Leave a run that ended with four of six tasks done."""
    (folder / "stop").touch()
    with pytest.raises(ExceptionGroup):
        asyncio.run(run(spec(folder, **more)))
    (folder / "stop").unlink()
    assert ran(folder) == [f"q{i}" for i in range(5)]
    (folder / "ran").unlink()


def ran(folder: Path) -> list[str]:
    path = folder / "ran"
    return path.read_text().split() if path.exists() else []


def live(folder: Path) -> Path:
    return folder / "state" / f"{SET}.db"


def sql(folder: Path, statement: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(live(folder), isolation_level=None)) as db:
        return db.execute(statement).fetchall()


NAMES = [f"q{i}.1" for i in range(6)]


# --- ways to go on


@pytest.mark.parametrize("how", ["same command", "resume", "run_eval_in_database"])
def test_only_what_has_no_result_runs(how: str, folders: Path) -> None:
    stopped(folders)
    ((run_id,),) = sql(folders, "SELECT run_id FROM eval")
    if how == "same command":
        summary = asyncio.run(run(spec(folders)))
    elif how == "resume":
        (summary,) = asyncio.run(resume(SET))
    else:
        summary = asyncio.run(run_eval_in_database(run_id, run_set_id=SET))
    assert summary["names"] == NAMES
    # The published function is asked by the run's id, and does not say it again.
    assert summary.get("run_id") == (None if how == "run_eval_in_database" else run_id)
    assert ran(folders) == ["q4", "q5"]


def test_a_run_set_is_resumed_from_its_backup_alone(folders: Path) -> None:
    stopped(folders)
    shutil.rmtree(folders / "state")
    (summary,) = asyncio.run(resume(SET))
    assert summary["names"] == NAMES
    assert ran(folders) == ["q4", "q5"]
    assert live(folders).stat().st_mode & 0o777 == 0o600


def test_a_backup_at_a_url_is_resumed_too(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setenv("NANOEVAL_BACKUP_DIR", f"file://{folders}/far/away")
    stopped(folders)
    assert [p.name for p in (folders / "far" / "away").iterdir()] == [f"{SET}.db"]
    shutil.rmtree(folders / "state")
    (summary,) = asyncio.run(resume(SET))
    assert summary["names"] == NAMES


def test_usage_and_elapsed_time_carry_over(folders: Path) -> None:
    stopped(folders)
    ((before,),) = sql(folders, "SELECT elapsed FROM eval")
    assert before > 0
    (summary,) = asyncio.run(resume(SET))
    assert summary["usage"]["requests"] == 7  # q4 twice
    ((after,),) = sql(folders, "SELECT elapsed FROM eval")
    assert after > before


def test_a_limit_changed_while_it_ran_stays(folders: Path) -> None:
    stopped(folders)
    sql(folders, "UPDATE eval SET concurrency = 2")
    asyncio.run(run(spec(folders)))
    assert sql(folders, "SELECT concurrency FROM eval") == [(2,)]


def test_another_limit_that_is_asked_for_wins(folders: Path) -> None:
    stopped(folders)
    sql(folders, "UPDATE eval SET concurrency = 2")
    asyncio.run(run(spec(folders, runner={"concurrency": 5})))
    assert sql(folders, "SELECT concurrency FROM eval") == [(5,)]


def test_retries_are_not_forgotten(folders: Path) -> None:
    """A task that was at its second retry goes on with its third."""
    seen: list[int] = []

    @chz.chz
    class Flaky(Stopping):
        async def evaluate(self, task: Task) -> str:
            seen.append(task.retry_idx)
            if task.retry_idx < 2:
                raise RolloutSystemError("down")
            if len(seen) == 3:
                raise ValueError("stop here")
            return "fine"

    flaky = EvalSpec(eval=Flaky(folder=str(folders), n=1), runner=spec(folders).runner)
    with pytest.raises(ExceptionGroup):
        asyncio.run(run(flaky))
    assert asyncio.run(run(flaky))["names"] == ["fine"]
    assert seen == [0, 1, 2, 2]


# --- what changed since


def test_changed_arguments_are_shown_and_refused_unless_accepted(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped(folders)
    with pytest.raises(StateError, match=re.escape("tag: was 'a', is 'b'")) as caught:
        asyncio.run(run(spec(folders, tag="b")))
    assert "accept_changed_spec=True" in str(caught.value)
    assert ran(folders) == []
    summary = asyncio.run(run(spec(folders, tag="b", runner={"accept_changed_spec": True})))
    assert summary["names"] == NAMES
    assert ran(folders) == ["q4", "q5"]
    assert "tag: was 'a', is 'b'" in capsys.readouterr().err


def test_more_tasks_join_those_that_are_done(folders: Path) -> None:
    asyncio.run(run(spec(folders, runner={"n_tasks": 3})))
    assert ran(folders) == ["q0", "q1", "q2"]
    summary = asyncio.run(run(spec(folders)))
    assert summary["names"] == NAMES
    assert ran(folders) == [f"q{i}" for i in range(6)]


@pytest.mark.parametrize("pool", [{}, {"executor": "multiprocess", "num_processes": 1}])
def test_tasks_no_longer_asked_for_do_not_run(pool: dict[str, Any], folders: Path) -> None:
    stopped(folders)
    summary = asyncio.run(run(spec(folders, runner={"n_tasks": 5, **pool})))
    assert summary["names"] == NAMES[:5]
    assert ran(folders) == ["q4"]
    # Asked for again, they do.
    assert asyncio.run(run(spec(folders)))["names"] == NAMES
    assert ran(folders) == ["q4", "q5"]


def test_a_shuffle_does_not_matter_to_what_is_done(folders: Path) -> None:
    stopped(folders)
    summary = asyncio.run(run(spec(folders, runner={"shuffle": True, "seed": 3})))
    assert summary["names"] == NAMES
    assert sorted(ran(folders)) == ["q4", "q5"]


def test_complete_evals_are_left_alone_or_summed_up_again(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = asyncio.run(run(spec(folders)))
    (folders / "ran").unlink()

    async def get_summary(self: Stopping, results: list[Any]) -> dict[str, Any]:
        return {"count": len(results)}

    monkeypatch.setattr(Stopping, "get_summary", get_summary)
    assert asyncio.run(resume(SET)) == [first]
    (again,) = asyncio.run(resume(SET, resume_completed_evals=True))
    assert again["count"] == 6
    assert again["run_id"] == first["run_id"]
    assert ran(folders) == []


# --- files that cannot be used


def refused(*parts: str) -> None:
    with pytest.raises(StateError) as caught:
        asyncio.run(resume(SET))
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_a_run_set_that_is_not_there_is_named_with_those_that_are(folders: Path) -> None:
    stopped(folders)
    with pytest.raises(StateError, match=re.escape(f"can be resumed: {SET}")):
        asyncio.run(resume("lost"))


def test_another_schema_version_is_refused(folders: Path) -> None:
    stopped(folders)
    sql(folders, "UPDATE metadata SET value = 99 WHERE key = 'schema_version'")
    refused("schema version 99", "stay readable")


@pytest.mark.parametrize("damage", ["truncated", "scribbled", "text", "another database"])
def test_a_damaged_file_says_what_can_be_saved(damage: str, folders: Path) -> None:
    stopped(folders)
    path = live(folders)
    for other in path.parent.glob(f"{SET}.db-*"):
        other.unlink()
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "scribbled":
        data[4096:16384] = os.urandom(12288)
        path.write_bytes(data)
    elif damage == "text":
        path.write_text(
            "this is no database, but long enough to look like a file of something\n" * 99
        )
    else:
        path.unlink()
        sql(folders, "CREATE TABLE other (x)")
        path.chmod(0o600)
    refused(str(path))


def test_a_damaged_file_moved_away_leaves_its_backup(folders: Path) -> None:
    stopped(folders)
    live(folders).write_bytes(b"\0" * 10_000)
    refused("move")
    live(folders).unlink()
    for other in (folders / "state").glob(f"{SET}.db-*"):
        other.unlink()
    (summary,) = asyncio.run(resume(SET))
    assert summary["names"] == NAMES


def test_a_file_whose_run_ended_before_its_schema_is_started_afresh(folders: Path) -> None:
    (folders / "state").mkdir(mode=0o700)
    sql(folders, "PRAGMA journal_mode = WAL")
    live(folders).chmod(0o600)
    assert asyncio.run(run(spec(folders)))["names"] == NAMES


def test_a_file_that_others_may_write_is_not_unpickled(folders: Path) -> None:
    stopped(folders)
    live(folders).chmod(0o660)
    refused("can be written by others", "chmod 600")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_not_unpickled(folders: Path) -> None:
    stopped(folders)
    os.chown(live(folders), 12345, 12345)
    refused("belongs to user 12345")


def test_a_spec_that_no_longer_unpickles_says_what_remains(folders: Path) -> None:
    script = folders / "gone.py"
    script.write_text(
        textwrap.dedent("""
            import asyncio, chz, pathlib, sys
            from nanoeval import EvalSpec, run
            from tests.end_to_end.test_engine_resume import Stopping, spec

            @chz.chz
            class Gone(Stopping):
                pass

            if __name__ == "__main__":
                folder = pathlib.Path(sys.argv[1])
                known = spec(folder)
                asyncio.run(run(EvalSpec(eval=Gone(folder=str(folder)), runner=known.runner)))
        """)
    )
    (folders / "stop").touch()
    ended = run_python(script, folders, folder=folders, PYTHONPATH=str(ROOT))
    assert "stop here" in ended.stderr, ended.stderr
    (folders / "stop").unlink()
    script.unlink()
    refused("gone.py", "restore it")


@pytest.mark.parametrize("pooled", [False, True])
def test_an_eval_defined_in_a_script_is_resumed(pooled: bool, folders: Path) -> None:
    script = folders / "mine.py"
    script.write_text(
        textwrap.dedent("""
            import asyncio, chz, pathlib, sys
            from nanoeval import EvalSpec, RunnerArgs, Task, run
            from tests.end_to_end.test_engine_resume import Stopping, spec

            class MyTask(Task):
                extra: int

            @chz.chz
            class Mine(Stopping):
                async def get_tasks(self):
                    return [MyTask(question_id=f"q{i}", extra=i) for i in range(6)]
                async def evaluate(self, task: MyTask):
                    assert type(task) is MyTask and task.question_id == f"q{task.extra}"
                    return await super().evaluate(task)

            if __name__ == "__main__":
                folder = pathlib.Path(sys.argv[1])
                pool = {"executor": "multiprocess", "num_processes": 1} if len(sys.argv) > 2 else {}
                runner = spec(folder, runner=pool).runner
                asyncio.run(run(EvalSpec(eval=Mine(folder=str(folder)), runner=runner)))
        """)
    )
    (folders / "stop").touch()
    arguments: list[str | Path] = [script, folders, *(["pooled"] if pooled else [])]
    ended = run_python(*arguments, folder=folders, PYTHONPATH=str(ROOT))
    assert "stop here" in ended.stderr, ended.stderr
    command = ["-m", "nanoeval.bin.resume", f"run_set_id={SET}"]
    again = run_python(*command, folder=folders)  # it stops once more: who resumes is not its home
    assert "stop here" in again.stderr, again.stderr
    (folders / "stop").unlink()
    (folders / "ran").unlink()
    ended = run_python(*command, folder=folders)
    assert ended.returncode == 0, ended.stderr
    assert ran(folders) == ["q4", "q5"]
    assert sql(folders, "SELECT state, done FROM eval") == [("done", 6)]
