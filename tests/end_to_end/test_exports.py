"""Records and runs in the tools that people already look at: Inspect and MLflow."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from nanoeval import resume, run
from nanoeval_core.recorder_protocol import find_recorder
from nanoeval_recorder import evallib_recorder, json_recorder, tee

from tests.support.recorded_eval import make_spec
from tests.support.recorder_driver import attempt, build

pytestmark = pytest.mark.timeout(300)  # importing Inspect and MLflow takes long on a busy machine
CONFIGS = {"evallib": evallib_recorder, "json": json_recorder}


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NANOEVAL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("NANOEVAL_LOG_DIR", str(tmp_path / "records"))
    return tmp_path


def record(folder: Path, name: str = "evallib", **eval: Any) -> Path:
    args = {"retry_backoff": 0.0}
    asyncio.run(run(make_spec(CONFIGS[name](), runner=args, **eval)))
    (path,) = (folder / "records").iterdir()
    return path


def export(path: Path, log: Path) -> None:
    from nanoeval_recorder.inspect_log import write_inspect_log

    assert write_inspect_log(path, log) == log


def inspect(*arguments: str) -> list[str]:
    pytest.importorskip("inspect_ai", reason="pip install 'nanoeval-recorder[inspect]'")
    return [str(Path(sys.executable).with_name("inspect")), *arguments]


@pytest.mark.parametrize(("name", "suffix"), [("evallib", "eval"), ("json", "json")])
def test_inspect_reads_our_export(name: str, suffix: str, folders: Path) -> None:
    dump = inspect("log", "dump")
    log = folders / f"log.{suffix}"
    export(record(folders, name, n=4, fails=1), log)
    done = subprocess.run([*dump, str(log)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["status"] == "success"
    assert found["eval"]["task"] == "recorded"
    assert found["eval"]["dataset"]["samples"] == 4
    metrics = found["results"]["scores"][0]["metrics"]
    assert (metrics["accuracy"]["value"], metrics["n"]["value"]) == (1.0, 4)
    assert [sample["id"] for sample in found["samples"]] == ["q0", "q1", "q2", "q3"]
    for sample in found["samples"]:
        task = f"{sample['id']}.1"
        assert sample["input"][0]["content"] == task
        assert sample["target"] == task
        assert sample["output"]["choices"][0]["message"]["content"] == task * 10
        assert sample["scores"]["match"]["value"] == "C"
        assert sample["scores"]["match"]["answer"] == task
        assert [event["event"] for event in sample["events"]] == ["model", "info", "info"]
        assert sample["metadata"]["retry"] == 1
        assert sample["metadata"]["earlier"] == [["not yet"]]


def test_inspect_shows_an_agents_turns_as_its_own_types(folders: Path) -> None:
    """Roles, tool calls and results, images, reasoning; accuracy and its error come first."""
    dump = inspect("log", "dump")
    pixels = b"\x89PNG not really"

    def record(r: Any) -> None:
        picture = r.record_file(pixels, "image/png")
        whole = r.record_file("all of a long result", "text/plain")
        call = {"id": "c1", "name": "bash", "arguments": {"command": "ls"}}
        bad = {"id": "c2", "type": "function", "function": {"name": "bash", "arguments": "{oops"}}
        parts = [
            {"type": "text", "text": "Look:"},
            {"type": "image_url", "image_url": {"url": picture}},
        ]
        chat: list[dict[str, Any]] = [
            {"role": "developer", "content": "Mend it."}, {"role": "user", "content": parts},
        ]  # fmt: skip
        r.record_sampling(chat, [""], tool_calls=[call, bad], reasoning="First look.", seconds=2.5)
        chat += [
            {"role": "assistant", "content": None, "tool_calls": [call, bad]},
            {"role": "tool", "tool_call_id": "c1", "name": "bash", "content": "a.py"},
            {"role": "tool", "tool_call_id": "c2", "name": "bash", "content": whole},
        ]
        r.record_sampling(chat, ["Done."], usage={"prompt_tokens": 5, "completion_tokens": 1})
        r.record_match(True, expected="x", picked="x")

    with build(evallib_recorder(log_dir=str(folders / "records"))) as recorder:
        recorder.write_events([attempt(recorder, record)])
        report = {"n": 1, "accuracy_stderr": 0.1, "accuracy": 0.5}
        recorder.record_final_report(report)
    (path,) = (folders / "records").iterdir()
    export(path, folders / "agent.json")
    done = subprocess.run(
        [*dump, str(folders / "agent.json")], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    metrics = found["results"]["scores"][0]["metrics"]
    assert [(name, one["value"]) for name, one in metrics.items()] == [
        ("accuracy", 0.5), ("stderr", 0.1), ("n", 1),
    ]  # fmt: skip
    (sample,) = found["samples"]
    _, user, said, first, second, last = sample["messages"]
    assert [m["role"] for m in sample["messages"]] == [
        "system", "user", "assistant", "tool", "tool", "assistant",
    ]  # fmt: skip
    coded = base64.b64encode(pixels).decode()
    assert user["content"][1]["image"] == f"data:image/png;base64,{coded}"
    call, bad = said["tool_calls"]
    assert (call["function"], call["arguments"]) == ("bash", {"command": "ls"})
    assert "oops" in bad["parse_error"]
    assert (first["tool_call_id"], first["function"], first["content"]) == ("c1", "bash", "a.py")
    assert second["content"][0]["text"] == "all of a long result"
    assert last["content"] == "Done."
    kinds = [event["event"] for event in sample["events"]]
    assert kinds == ["model", "tool", "tool", "model", "info"]
    assert sample["events"][0]["working_time"] == 2.5
    reasoning = sample["events"][0]["output"]["choices"][0]["message"]["content"][0]
    assert (reasoning["type"], reasoning["reasoning"]) == ("reasoning", "First look.")
    assert sample["events"][1]["result"] == "a.py"


def test_inspect_view_shows_our_export(folders: Path) -> None:
    view = inspect("view", "start")
    export(record(folders, n=3), folders / "logs.eval")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = ["--log-dir", str(folders), "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(
        [*view, *where], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            logs = json.loads(get(f"http://127.0.0.1:{port}/api/logs", server))
            (log,) = logs["files"]
            assert log["name"].endswith("logs.eval")
            page = get(f"http://127.0.0.1:{port}/", server)
            assert "<html" in page.lower()
        finally:
            server.terminate()


def get(url: str, server: subprocess.Popen[bytes]) -> str:
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                text: str = response.read().decode()
                return text
        except urllib.error.URLError as error:
            if isinstance(error, urllib.error.HTTPError) or server.poll() is not None:
                raise
            time.sleep(0.1)


def test_an_unfinished_run_is_exported_as_one(folders: Path) -> None:
    inspect()
    from inspect_ai.log import read_eval_log

    path = record(folders, n=3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    export(path, folders / "part.eval")
    log = read_eval_log(str(folders / "part.eval"))
    assert log.status == "cancelled"
    assert log.samples is not None
    assert len(log.samples) == 3


def test_the_export_is_a_command(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspect()
    from nanoeval_recorder.inspect_log import main

    path = record(folders, n=1)
    main([str(path)])
    assert capsys.readouterr().out.strip() == str(path.with_suffix(".eval"))
    with pytest.raises(SystemExit, match="error: no record at"):
        main([str(folders / "none.jsonl")])
    with pytest.raises(SystemExit, match="inspect_log RECORD"):
        main([])


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("mlflow", reason="pip install 'nanoeval-recorder[mlflow]'")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    return MlflowClient


def test_a_run_is_in_mlflow(mlflow: Any, folders: Path) -> None:
    config = find_recorder("mlflow")(str(folders / "mlruns"), "tests")
    summary = asyncio.run(run(make_spec(tee(config, evallib_recorder()), n=7)))
    client = mlflow(tracking_uri=(folders / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("tests")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.tags["nanoeval.run_id"] == summary["run_id"]
    assert found.data.params["eval.n"] == "7"
    assert found.data.metrics["accuracy"] == summary["accuracy"]
    assert found.data.metrics["matches"] == 14
    assert found.data.metrics["match_accuracy"] == 1.0
    artifacts = {file.path for file in client.list_artifacts(found.info.run_id)}
    assert artifacts == {"spec.json", "final_report.json"}


def test_a_resumed_run_goes_on_in_its_mlflow_run(mlflow: Any, folders: Path) -> None:
    config = find_recorder("mlflow")(str(folders / "mlruns"))
    asyncio.run(run(make_spec(config, n=3, runner={"run_set_id": "again"})))
    asyncio.run(resume("again", resume_completed_evals=True))
    client = mlflow(tracking_uri=(folders / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("recorded")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.metrics["matches"] == 6


def test_without_mlflow_the_error_says_what_to_install(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    from nanoeval.errors import RecorderError

    config = find_recorder("mlflow")(str(folders / "mlruns"))
    with pytest.raises(RecorderError, match=r"pip install 'nanoeval-recorder\[mlflow\]'"):
        asyncio.run(run(make_spec(config)))
    assert not os.path.exists(folders / "mlruns")
