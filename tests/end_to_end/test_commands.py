"""`python -m nanoeval.bin.…` on a run set that was really run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.script import run_python

RUN = ("runner.run_set_id=mine", "runner.n_tasks=5", "eval.solver=MockSolver")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ran")
    done = run_python("-m", "examples.gpqa_simple", *RUN, folder=folder)
    assert done.returncode == 0, done.stderr
    return folder


def command(name: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return run_python("-m", f"nanoeval.bin.{name}", *arguments, folder=folder)


def test_sqlite_answers_a_query(ran: Path) -> None:
    query = "query=select name, state, done from eval"
    done = command("sqlite", query, "run_set_id=mine", folder=ran)
    assert done.stdout.splitlines() == [
        "name         state  done",
        "gpqa-sample  done   5",
    ]


def test_sqlite_reads_only(ran: Path) -> None:
    done = command("sqlite", "query=delete from task", folder=ran)
    assert done.returncode == 2
    assert "readonly" in done.stderr or "cannot modify" in done.stderr
    assert "5" in command("sqlite", "query=select count(*) from task", folder=ran).stdout


def test_concurrency_is_shown_and_set(ran: Path) -> None:
    assert "gpqa-sample (done): at most 4096" in command("concurrency", folder=ran).stdout
    assert "at most 7" in command("concurrency", "limit=7", folder=ran).stdout
    assert "at most 7" in command("concurrency", folder=ran).stdout
    assert (
        "gpqa-sample (done): unlimited" in command("concurrency", "limit=none", folder=ran).stdout
    )
    overall = command("concurrency", "limit=3", "overall=True", folder=ran).stdout
    assert "all together: at most 3" in overall


def test_resume_of_what_is_complete_runs_nothing_again(ran: Path) -> None:
    done = command("resume", "run_set_id=mine", folder=ran)
    assert done.returncode == 0, done.stderr
    assert '"accuracy"' in done.stdout
    count = "query=select count(*) as n, max(retry_idx) as r from task"
    assert command("sqlite", count, folder=ran).stdout.splitlines()[1].split() == ["5", "0"]


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("resume",), "specify run_set_id. Newest first:\n  run_set_id=mine"),
        (("resume", "run_set_id=other"), "there is no run set 'other'"),
        (("sqlite", "run_set_id=other"), "there is no run set 'other'"),
        (("sqlite", "run_set_id=../x"), "run_set_id='../x': it names a file"),
        (("sqlite", "query=selec"), 'near "selec": syntax error'),
        (("concurrency", "limit=0"), "limit=0: give a positive number"),
        (("concurrency", "limit=5", "eval=nope"), "it holds gpqa-sample"),
        (("concurrency", "limit=5", "eval=a", "overall=True"), "leave one of them out"),
        (("concurrency", "limt=5"), "Did you mean 'limit'?"),
    ],
)
def test_mistakes_are_answered(ran: Path, arguments: tuple[str, ...], answer: str) -> None:
    done = command(*arguments, folder=ran)
    assert done.returncode not in (0, None)
    assert answer in done.stderr
    assert "Traceback" not in done.stderr


FUNCTIONS = """
import asyncio
from nanoeval.bin.concurrency import concurrency
from nanoeval.bin.resume import resume
from nanoeval.setup import global_exit_stack

async def main():
    async with global_exit_stack:
        print(await resume("never-seen"))
        (summary,) = await resume("mine", resume_completed_evals=True)
        print(sorted(summary) != [])
    await concurrency("mine", 5)

asyncio.run(main())
"""


def test_the_functions_behind_the_commands(ran: Path, tmp_path: Path) -> None:
    script = tmp_path / "functions.py"
    script.write_text(FUNCTIONS)
    done = run_python(script, folder=ran)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["[]", "True"]
    assert "all together: at most 5" in done.stdout
