"""What a person sees who does something wrong: one clear message, an exit code, no stack."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.api_server import KEY, MODEL, serving
from tests.support.script import ROOT, environment, run_python

pytestmark = pytest.mark.timeout(150)

SIMPLE = ("-m", "examples.gpqa_simple")
MOCK = (*SIMPLE, "eval.solver=MockSolver")
HEADER = "Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\n"
LONGEST = 12  # lines of stderr


def check(done: subprocess.CompletedProcess[str], *expected: str, code: int | None = None) -> None:
    """That `done` failed with a short message that holds all of `expected`."""
    assert done.returncode != 0
    assert done.returncode > 0, f"killed by signal {-done.returncode}"
    if code is not None:
        assert done.returncode == code
    missing = [text for text in expected if text not in done.stderr]
    assert not missing, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= LONGEST, done.stderr


# --- the endpoint


def test_no_key(tmp_path: Path) -> None:
    done = run_python(*SIMPLE, "eval.solver.model=gpt-4o-mini", folder=tmp_path)
    check(done, "OPENAI_API_KEY", "Set it", code=2)


@pytest.mark.parametrize(
    ("key", "model", "expected"),
    [
        ("a-wrong-key", MODEL, ["401", "OPENAI_API_KEY"]),
        (KEY, "no-such-model", ["no-such-model", "404"]),
    ],
)
def test_refused_by_the_endpoint(tmp_path: Path, key: str, model: str, expected: list[str]) -> None:
    with serving() as server:
        done = run_python(
            *SIMPLE,
            f"eval.solver.model={model}",
            "runner.concurrency=2",
            folder=tmp_path,
            OPENAI_BASE_URL=server.base_url,
            OPENAI_API_KEY=key,
        )
        # One look is enough: thousands of requests with a wrong key get an address banned.
        assert len(server.requests) <= 4
    check(done, *expected, server.base_url)
    assert "a-wrong-key" not in done.stderr


def test_nothing_listens_there(tmp_path: Path) -> None:
    with serving() as server:
        gone = server.base_url
    done = run_python(
        *SIMPLE,
        f"eval.solver.model={MODEL}",
        folder=tmp_path,
        OPENAI_BASE_URL=gone,
        OPENAI_API_KEY=KEY,
    )
    check(done, gone, "cannot be reached", "base_url")


def test_port_of_the_local_server_in_use(tmp_path: Path) -> None:
    script = tmp_path / "serve.py"
    script.write_text(
        "import sys\nfrom examples import local_model\n"
        "with local_model.serve(int(sys.argv[1])): print('serving')\n",
        "utf-8",
    )
    with serving() as server:
        done = run_python(script, str(server.server_port), folder=tmp_path, PYTHONPATH=str(ROOT))
        assert done.returncode != 0
        assert f"port={server.server_port}: " in done.stderr
        assert "in use" in done.stderr
        assert "leave it out to take any that is free" in done.stderr


# --- the data


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEADER + "Why?,a,b,c,d\nHow?,a,,c,d\n", ["row 3", "'Incorrect Answer 1'", "empty"]),
        (HEADER + "Why?,a,b,c\n", ["row 2", "'Incorrect Answer 3'", "empty"]),
        (HEADER + "Why, oh why?,a,b,c,d\n", ["row 2", "more cells than columns"]),
        (HEADER + 'Why?,a,b,c,d\n"How?,a,b,c,d\n', ["row 3", "unexpected end of data"]),
        (HEADER.replace("Correct Answer,", "Right,", 1) + "Why?,a,b,c,d\n", ["'Correct Answer'"]),
        (HEADER, ["returned no tasks"]),
        ("", ["returned no tasks"]),
        (b"Question\n\xff\xfe", ["utf-8", "cannot be read"]),
        (
            HEADER.replace("\n", ",Record ID\n") + "Why?,a,b,c,d,x/y\n",
            ["'x/y'", "contains '/'"],
        ),
    ],
)
def test_malformed_data(tmp_path: Path, text: str | bytes, expected: list[str]) -> None:
    data = tmp_path / "data.csv"
    data.write_bytes(text if isinstance(text, bytes) else text.encode())
    check(run_python(*MOCK, f"eval.data={data}", folder=tmp_path), *expected)
    assert not list(tmp_path.glob("records/*"))  # nothing was begun


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("/no/such/file.csv", "No such file"),
        ("/", "Is a directory"),
        ("http://127.0.0.1:9/gpqa.csv", "Connection refused"),
    ],
)
def test_missing_data(tmp_path: Path, data: str, expected: str) -> None:
    done = run_python(*MOCK, f"eval.data={data}", folder=tmp_path)
    check(done, f"data={data!r} cannot be read", expected, code=2)


# --- folders


@pytest.mark.parametrize("setting", ["NANOEVAL_LOG_DIR", "NANOEVAL_STATE_DIR"])
def test_folder_that_cannot_be_written(tmp_path: Path, setting: str) -> None:
    (tmp_path / "file").write_text("no folder", "utf-8")
    folder = str(tmp_path / "file" / "x")
    check(run_python(*MOCK, folder=tmp_path, **{setting: folder}), folder, setting)


def run_on_small_disk(
    *arguments: str, disk: Path, folder: Path, kilobytes: int, **more: str
) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS…` with a file system of some kilobytes mounted on `disk`."""
    disk.mkdir()
    mount = f"mount -t tmpfs -o size={kilobytes}k,mode=700 tmpfs {disk}"
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh", sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=environment(folder, **more),
        cwd=ROOT,
        timeout=120,
    )


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/tmp"],
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


needs_mount = pytest.mark.skipif(not can_mount(), reason="needs the right to mount a small disk")


@needs_mount
def test_disk_of_the_state_file_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    done = run_on_small_disk(
        *MOCK, disk=disk, folder=tmp_path, kilobytes=80, NANOEVAL_STATE_DIR=str(disk)
    )
    check(done, str(disk), "full", "NANOEVAL_STATE_DIR")


@needs_mount
def test_disk_of_the_records_full(tmp_path: Path) -> None:
    """Results are safe, the failure is reported once, and how to get the record is said."""
    disk = tmp_path / "disk"
    done = run_on_small_disk(
        *MOCK, disk=disk, folder=tmp_path, kilobytes=8, NANOEVAL_LOG_DIR=str(disk)
    )
    assert done.returncode == 0, done.stderr
    assert "'n': 68" in done.stdout
    assert len(re.findall("No space left on device", done.stderr)) == 1
    assert "Traceback" not in done.stderr


# --- evals

EVAL = """
import asyncio, chz, nanoeval, threading
from nanoeval import Eval, EvalSpec, RunnerArgs, Task
from nanoeval.setup import nanoeval_entrypoint

class Word(Task):
    extra: object = None

@chz.chz
class Words(Eval[Word, object]):
    def get_name(self): return "words"
    async def get_tasks(self): return {tasks}
    async def evaluate(self, task): {evaluate}
    async def get_summary(self, results): return {{"n": len(results)}}

if __name__ == "__main__":
    runner = RunnerArgs({runner})
    nanoeval_entrypoint(nanoeval.run(EvalSpec(eval=Words(), runner=runner)))
"""
TWO = '[Word(question_id="a"), Word(question_id="b")]'


def run_eval(
    folder: Path, tasks: str = TWO, evaluate: str = "return 1", runner: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    script = folder / "words.py"
    script.write_text(EVAL.format(tasks=tasks, evaluate=evaluate, runner=runner), "utf-8")
    return run_python(script, folder=folder, cwd=folder, **more)


def test_the_eval_of_these_tests_works(tmp_path: Path) -> None:
    done = run_eval(tmp_path)
    assert done.returncode == 0, done.stderr


POOL = "experimental_use_multiprocessing=True, num_processes=1"


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ("[]", ["eval 'words'", "returned no tasks"]),
        ("None", ["eval 'words'", "must return a sequence of Task"]),
        ('[Word(question_id="a/b")]', ["'a/b' contains '/'", "use another character"]),
        ('["a"]', ["get_tasks()[0] is a str"]),
        (
            '[Word(question_id="a", extra=(letter for letter in "b"))]',
            ["task 'a.1' cannot be pickled", "'extra'", "cannot pickle 'generator'"],
        ),
    ],
)
def test_tasks_that_cannot_be_queued(tmp_path: Path, tasks: str, expected: list[str]) -> None:
    check(run_eval(tmp_path, tasks), *expected)


def test_tasks_with_the_id_of_an_earlier_one_are_left_out_with_a_warning(tmp_path: Path) -> None:
    done = run_eval(tmp_path, '[Word(question_id="a"), Word(question_id="a")]')
    assert done.returncode == 0, done.stderr
    assert "1 of the 2 tasks" in done.stderr
    assert "[1] has the id of [0] (question_id='a'" in done.stderr


@pytest.mark.parametrize("runner", ["", POOL], ids=["in process", "pool"])
@pytest.mark.parametrize(
    ("evaluate", "expected"),
    [
        ("return threading.Lock()", ["task 'words/a.1' cannot be pickled", "lock"]),
        ("raise KeyError('oops')", ["KeyError: 'oops'", "words.py", "task 'a'", "To resume"]),
    ],
)
def test_evaluations_that_go_wrong(
    tmp_path: Path, evaluate: str, expected: list[str], runner: str
) -> None:
    check(run_eval(tmp_path, evaluate=evaluate, runner=runner), *expected)


@pytest.mark.parametrize(
    ("runner", "expected"),
    [
        ("concurrency=0", "RunnerArgs.concurrency=0"),
        ("n_tasks=-1", "RunnerArgs.n_tasks=-1"),
        ("num_processes=2", "RunnerArgs.num_processes=2"),
        ("slack_name='me', enable_slackbot=False", "RunnerArgs.slack_name='me'"),
        ("run_set_id='a/b'", "RunnerArgs.run_set_id='a/b'"),
        ("recorder='json'", "RunnerArgs.recorder='json'"),
    ],
)
def test_arguments_that_contradict_each_other(tmp_path: Path, runner: str, expected: str) -> None:
    script = tmp_path / "arguments.py"
    script.write_text(f"from nanoeval import RunnerArgs\nRunnerArgs({runner})\n", "utf-8")
    done = run_python(script, folder=tmp_path)
    assert done.returncode == 1
    assert expected in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("how", ["--debug", "NANOEVAL_DEBUG"])
def test_the_traceback_is_shown_when_asked_for(tmp_path: Path, how: str) -> None:
    if how == "--debug":
        done = run_python(*MOCK, "--debug", "eval.data=/no/such", folder=tmp_path)
    else:
        done = run_eval(tmp_path, evaluate="1 / 0", NANOEVAL_DEBUG="1")
    assert done.returncode != 0
    assert "Traceback (most recent call last)" in done.stderr
