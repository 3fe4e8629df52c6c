"""The examples, run as their first lines say."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from examples import local_model
from examples.gpqa_api import CHOICES, SAMPLE, load_questions
from tests.support.api_server import KEY, MODEL, serving
from tests.support.script import ROOT, environment, run_python

pytestmark = pytest.mark.timeout(150)


def records(folder: Path) -> list[dict[str, object]]:
    (file,) = (folder / "records").glob("*.jsonl")
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def matches(folder: Path) -> dict[str, tuple[bool, str]]:
    """What each question got: whether it was right, and the letter that would have been."""
    return {
        str(event["sample_id"]): (event["data"]["correct"], event["data"]["expected"])  # type: ignore[index]
        for event in records(folder)
        if event.get("type") == "match"
    }


def test_the_sample_is_a_sample() -> None:
    with Path(SAMPLE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 60
    assert len({row["High-level domain"] for row in rows}) >= 4
    assert len({row["Question"] for row in rows}) == len(rows)
    assert all(len({row[column].strip() for column in CHOICES}) == 4 for row in rows)
    assert all(row["Record ID"].startswith("sample-") for row in rows)
    assert "sample" in Path(SAMPLE).name


def test_the_api_example_is_short() -> None:
    assert (ROOT / "examples/gpqa_api.py").read_text("utf-8").count("\n") < 70


def test_mock_example(tmp_path: Path) -> None:
    done = run_python("-m", "examples.gpqa_mock", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(matches(tmp_path)) == len(load_questions(SAMPLE))


def test_mock_example_in_a_pool_gives_the_same_answers(tmp_path: Path) -> None:
    for name in ("gpqa_mock", "gpqa_mock_mp"):
        done = run_python("-m", f"examples.{name}", folder=tmp_path / name)
        assert done.returncode == 0, done.stderr
    assert matches(tmp_path / "gpqa_mock") == matches(tmp_path / "gpqa_mock_mp")


def test_two_runs_ask_the_same_thing(tmp_path: Path) -> None:
    prompts = []
    for name in ("first", "second"):
        with serving() as server:
            done = run_python(
                *("-m", "examples.gpqa_simple", f"eval.solver.model={MODEL}", "runner.n_tasks=9"),
                folder=tmp_path / name,
                OPENAI_BASE_URL=server.base_url,
                OPENAI_API_KEY=KEY,
            )
            assert done.returncode == 0, done.stderr
            prompts.append(sorted(str(body["messages"]) for body in server.requests))
    assert len(prompts[0]) == 9
    assert prompts[0] == prompts[1]
    assert matches(tmp_path / "first") == matches(tmp_path / "second")
    # Shuffled: the right answer is not always the first, as it is in the file.
    assert len({expected for _, expected in matches(tmp_path / "first").values()}) > 1


def test_simple_example_takes_a_file(tmp_path: Path) -> None:
    data = tmp_path / "mine.csv"
    data.write_text("Question," + ",".join(CHOICES) + "\nWhy?,a,b,c,d\n", "utf-8")
    done = run_python(
        *("-m", "examples.gpqa_simple", "eval.solver=MockSolver", f"eval.data={data}"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert list(matches(tmp_path)) == ["row-2"]
    assert records(tmp_path)[0]["spec"]["eval_name"] == "gpqa"  # type: ignore[index]


def test_demo_with_the_mock_solver_says_so(tmp_path: Path) -> None:
    done = run_python("-m", "examples.demo", "mock=True", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "NO MODEL IS MEASURED" in done.stdout
    assert "mock solver (no model)" in done.stdout
    assert "mock" in str(records(tmp_path)[0])


def test_demo_asks_another_model(tmp_path: Path) -> None:
    with serving() as server:
        done = run_python(
            *("-m", "examples.demo", f"model={MODEL}", "n_tasks=5"),
            folder=tmp_path,
            OPENAI_BASE_URL=server.base_url,
            OPENAI_API_KEY=KEY,
        )
        assert done.returncode == 0, done.stderr
        assert len(server.requests) == 5
    (file,) = (tmp_path / "records").glob("*.jsonl")
    assert f"record: {file}" in done.stderr
    assert "60 tokens" in done.stderr  # 10 and 2 for each of 5 requests


def test_demo_refuses_a_model_that_it_cannot_reach(tmp_path: Path) -> None:
    done = run_python("-m", "examples.demo", f"model={MODEL}", folder=tmp_path)
    assert done.returncode != 0
    assert "set OPENAI_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr


def test_demo_stops_on_ctrl_c_and_goes_on_where_it_was(tmp_path: Path) -> None:
    asked = threading.Event()
    answer_now = threading.Event()

    def reply(prompt: str) -> str:
        asked.set()
        answer_now.wait(60)
        return "Answer: A"

    with serving(reply) as server:
        folders = environment(tmp_path, OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY=KEY)
        demo = [sys.executable, "-m", "examples.demo", f"model={MODEL}"]
        process = subprocess.Popen(
            demo, env=folders, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        answer_now.set()
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in err
        go_on = re.search(r"examples\.demo (resume=demo-[\d-]+)", out)
        assert go_on is not None
        before = len(server.requests)
        assert before < len(load_questions(SAMPLE))
        done = run_python(
            "-m",
            "examples.demo",
            f"model={MODEL}",
            go_on[1],
            folder=tmp_path,
            **{name: folders[name] for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY")},
        )
        assert done.returncode == 0, done.stderr
        # Each question was asked once, except those that Ctrl-C cut off.
        assert len(matches(tmp_path)) == len(load_questions(SAMPLE))


# --- the local model: in the demo's environment, once the demo was run there

_DEMO_PYTHON = ROOT / ".hatch/default/bin/python"
LOCAL_PYTHON = str(_DEMO_PYTHON) if _DEMO_PYTHON.exists() else sys.executable
HAS_MODEL = "from examples.local_model import find_weights; print(find_weights() is not None)"


def has_local_model() -> bool:
    done = subprocess.run(
        [LOCAL_PYTHON, "-c", HAS_MODEL], capture_output=True, text=True, check=False, cwd=ROOT
    )
    return done.stdout.strip() == "True"


needs_model = pytest.mark.skipif(
    not has_local_model(), reason="the local model is not here: hatch run demo"
)


@needs_model
def test_demo_with_the_local_model(tmp_path: Path) -> None:
    done = subprocess.run(
        [LOCAL_PYTHON, "-m", "examples.demo", "n_tasks=2"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(tmp_path),
        cwd=ROOT,
        timeout=140,
    )
    assert done.returncode == 0, done.stderr
    assert local_model.MODEL in done.stdout
    assert len(matches(tmp_path)) == 2


@needs_model
def test_the_server_ends_with_the_process_that_opened_it(tmp_path: Path) -> None:
    """Even when that is killed: its end of the pipe closes."""
    script = (
        "import examples.local_model as m, os, signal\n"
        "with m.serve() as url:\n"
        "    print(url, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [LOCAL_PYTHON, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=environment(tmp_path),
        cwd=ROOT,
        timeout=140,
    )
    assert done.returncode == -signal.SIGKILL
    port = int(done.stdout.strip().removesuffix("/v1").rpartition(":")[2])
    with socket.socket() as probe, contextlib.suppress(ConnectionError):
        probe.connect(("127.0.0.1", port))  # refused when it has ended already, else
        assert probe.recv(1) == b""  # closed as it ends: idle connections stay open until then
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", port))


def test_the_four_evals_of_the_docs_run_under_inspect_too(tmp_path: Path) -> None:
    done = run_python(ROOT / "benchmarks" / "lines_of_code.py", "--run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    scores = re.findall(r"\b[01]\.0\b", done.stdout.rpartition("|")[2])
    assert scores == ["1.0", "0.0", "1.0", "0.0", "1.0", "1.0", "1.0"]
