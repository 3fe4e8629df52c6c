"""Runs as they are recorded, and what the monitor and the terminal say of them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chz
import httpx
import pytest
from nanoeval import Eval, EvalSpec, RolloutSystemError, RunnerArgs, Task, run
from nanoeval.recorder import dummy_recorder, get_recorder, record_file
from nanoeval_monitor._access import Access
from nanoeval_monitor._background_indexing import BackgroundIndexing
from nanoeval_monitor._live_feed import LiveFeed
from nanoeval_monitor._record_index import RecordIndex
from nanoeval_monitor._run_list import RunList
from nanoeval_monitor._sample_query import find_samples
from nanoeval_monitor._server import create_app
from starlette.testclient import TestClient

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
LONG = "a long reply " * 1000
Start = Callable[..., Any]
WriteRecord = Callable[..., Path]


@chz.chz
class Dialogues(Eval[Task, bool]):
    """Three turns, whose prompts repeat what came before; the first question fails once."""

    def get_name(self) -> str:
        return "dialogues"

    async def get_tasks(self) -> list[Task]:
        return [Task(question_id=f"q{number}") for number in range(3)]

    async def evaluate(self, task: Task) -> bool:
        if task.question_id == "q0" and task.retry_idx == 0:
            raise RolloutSystemError("gone")
        image = {"type": "image_url", "image_url": {"url": record_file(PNG, "image/png")}}
        messages: list[dict[str, Any]] = [{"role": "user", "content": [image]}]
        for _ in range(3):
            get_recorder().record_sampling(list(messages), [LONG])
            messages += [{"role": "assistant", "content": LONG}, {"role": "user", "content": "On."}]
        metadata = {"level": int(task.question_id[1:])}
        get_recorder().record_match(True, expected="x", picked="x", metadata=metadata)
        return True

    async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
        return {"accuracy": 1.0, "accuracy_stderr": 0.25, "accuracy_ci95": [0.3, 1.0]}


@pytest.fixture
def folders(tmp_path: Path, records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOEVAL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("NANOEVAL_LOG_DIR", str(records))


def run_dialogues(**more: Any) -> None:
    runner = RunnerArgs(should_backup=False, retry_backoff=0.0, **more)
    asyncio.run(run(EvalSpec(eval=Dialogues(), runner=runner)))


def listed(state: Path, records: Path) -> list[dict[str, Any]]:
    """What `nanoeval ls` says."""
    environ = {**os.environ, "NANOEVAL_STATE_DIR": str(state), "NANOEVAL_LOG_DIR": str(records)}
    command = [sys.executable, "-m", "nanoeval", "ls", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def live_view(base: str, run_set_id: str) -> dict[str, Any] | None:
    views = httpx.get(f"{base}/api/live").json()
    return next((one for one in views if one["run_set_id"] == run_set_id), None)


def test_dialogues_are_whole_and_their_images_shown(
    monitor: tuple[str, str], folders: None
) -> None:
    run_dialogues()
    base, _ = monitor
    (entry,) = httpx.get(f"{base}/api/runs").json()["runs"]
    url = f"{base}/api/runs/{entry['key']}"
    page = httpx.get(url).json()
    assert page["verdicts"] == {"right": 3, "error": 1}  # a retry is no loss
    assert page["metrics"][0]["name"] == "accuracy"
    assert page["metrics"][0]["stderr"] == 0.25
    (_, last) = httpx.get(f"{url}/transcript", params={"sample": "q0", "whole": 1}).json()[
        "attempts"
    ]
    prompts = [one["data"]["prompt"] for one in last["events"] if one["type"] == "sampling"]
    assert [len(prompt) for prompt in prompts] == [1, 3, 5]
    assert prompts[2][3] == {"role": "assistant", "content": LONG}
    name = prompts[2][0]["content"][0]["image_url"]["url"].removeprefix("sha256:")
    image = httpx.get(f"{url}/files/{name}")
    assert (image.content, image.headers["content-type"]) == (PNG, "image/png")
    assert httpx.get(f"{url}/files/none").status_code == 404
    values = httpx.get(f"{url}/fields/level").json()["values"]
    assert sorted(values) == [["0", 1], ["1", 1], ["2", 1]]
    rows = httpx.get(f"{url}/samples", params={"field": "level", "value": "2"}).json()["rows"]
    assert [row["sample_id"] for row in rows] == ["q2"]


def test_the_page_and_the_terminal_agree_on_every_run(
    monitor: tuple[str, str],
    folders: None,
    tmp_path: Path,
    records: Path,
    start_run: Start,
    write_record: WriteRecord,
) -> None:
    run_dialogues(eval_set_name="sweep a")
    run_dialogues(recorder=dummy_recorder(), model_name="elsewhere")
    write_record("UNFINISHED", n=3, finished=False)
    killed = start_run(20, 4, "run_set_id=killed")
    base, _ = monitor
    while not any(one["done"] == 16 for one in httpx.get(f"{base}/api/runs").json()["runs"]):
        assert killed.process.poll() is None
    killed.process.kill()
    killed.process.wait(20)
    runs = httpx.get(f"{base}/api/runs").json()["runs"]
    shared = ("state", "done", "total", "tokens", "part_of", "model")
    by_id = {one["run_id"]: one for one in listed(tmp_path / "state", records)}
    assert {one["run_id"] for one in runs} == set(by_id)
    for one in runs:
        known = by_id[one["run_id"]]
        assert [one[name] for name in shared] == [known[name] for name in shared], one["run_id"]
    assert sorted(one["state"] for one in runs) == ["died", "died", "done", "done"]
    (elsewhere,) = [one for one in runs if one["model"] == "elsewhere"]
    page = httpx.get(f"{base}/api/runs/{elsewhere['key']}").json()
    assert (page["path"], page["metrics"][0]["value"]) == ("", 1.0)
    (died,) = [one for one in runs if one["run_set_id"] == "killed"]
    page = httpx.get(f"{base}/api/runs/{died['key']}").json()
    assert page["resume"].endswith("nanoeval resume killed")
    view = live_view(base, "killed")
    while view is None or view["state"] == "running":  # the feed looks once a second
        view = live_view(base, "killed")
    assert (view["state"], view["evals"][0]["state"]) == ("died", "died")
    assert (view["evals"][0]["in_flight"], view["evals"][0]["queued"]) == (0, 4)
    assert [one["state"] for one in view["executors"]] == ["died"]
    assert view["stuck"] == []
    assert view["resume"].endswith("nanoeval resume killed")


def test_a_comparison_is_computed_once_while_the_records_stay(
    records: Path, write_record: WriteRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record("A", n=30)
    path = write_record("B", n=30, finished=False)
    computed = []

    def compare(indices: Any) -> dict[str, Any]:
        computed.append(list(indices))
        return {"pairs": []}

    monkeypatch.setattr("nanoeval_monitor._server.compare_runs", compare)
    runs = RunList([records], records)
    app = create_app(runs, LiveFeed(runs), Access("127.0.0.1", "x" * 8))
    page = TestClient(app, base_url="http://localhost")
    for keys in ("A,B", "A,B", "B,A"):
        assert page.get("/api/compare", params={"runs": keys}).json() == {"pairs": []}
    assert computed == [["A", "B"], ["B", "A"]]
    with path.open("a") as file:
        file.write('{"run_id": "B", "sample_id": "q99", "type": "match", "data": {}}\n')
    page.get("/api/compare", params={"runs": "A,B"})
    assert len(computed) == 3


async def search_all(index: RecordIndex) -> list[dict[str, Any]]:
    """What a page is told of its search, each time that it asks, until all was searched."""
    told: list[dict[str, Any]] = []
    indexing = BackgroundIndexing()
    while not told or not told[-1]["searched"]:
        await indexing.look(index)
        await indexing.search(index)
        told.append(await asyncio.to_thread(find_samples, index, {"q": "number 7"}))
    return told


def test_a_search_goes_on_by_itself_and_says_how_far_it_is(
    write_record: WriteRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanoeval_monitor._background_indexing.SLICE_SECONDS", 0.0)
    told = asyncio.run(search_all(RecordIndex(write_record("RUN", n=9000))))
    assert not told[0]["searched"]
    assert told[0]["index"]["searchable"] < 9000
    assert told[0]["index"]["bytes_read"] < told[0]["index"]["bytes"]
    assert told[-1]["index"]["searchable"] == 9000
    assert told[-1]["total"] == 1111  # 7, 70 to 79, 700 to 799, 7000 to 7999
