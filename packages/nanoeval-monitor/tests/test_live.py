"""Runs that are really going, seen through the monitor."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import re
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chz
import httpx
import psutil
import pytest
from nanoeval import Eval, EvalSpec, RunnerArgs, Task, run
from nanoeval.recorder import dummy_recorder
from nanoeval_core.errors import ConfigError
from nanoeval_monitor._live_history import CAPACITY, History, Point, quantile
from nanoeval_runner._monitors import find_monitor

PATIENCE = 60.0  # seconds that mean "hung": longer than a busy machine takes
get = functools.partial(httpx.get, timeout=PATIENCE)
post = functools.partial(httpx.post, timeout=PATIENCE)

Start = Callable[..., Any]


@contextlib.contextmanager
def views(base: str, run_set_id: str) -> Iterator[Iterator[dict[str, Any]]]:
    """The views that the server sends, one after the other."""
    url = f"{base}/api/live/{run_set_id}/events"
    with httpx.stream("GET", url, timeout=PATIENCE) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()

        def read() -> Iterator[dict[str, Any]]:
            name = ""
            for line in lines:
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: ") and name == "view":
                    yield json.loads(line.removeprefix("data: "))

        yield read()


def until(
    found: Iterator[dict[str, Any]], holds: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    return next(view for view in found if holds(view))


def run_set(base: str) -> str:
    while True:  # the monitor looks once a second; the test's own timeout bounds this
        sets = get(f"{base}/api/live").json()
        if sets and sets[0]["evals"]:
            return str(sets[0]["run_set_id"])


def test_a_run_is_seen_as_it_goes(monitor: tuple[str, str], start_run: Start) -> None:
    run = start_run(40, 6)
    base, _ = monitor
    with views(base, run_set(base)) as found:
        view = until(
            found,
            lambda view: (
                view["evals"][0]["done"] == 34
                and len(view["stuck"]) == 6
                and view["evals"][0]["score"] is not None
                and view["evals"][0]["score"]["n"] == 34
            ),
        )
        (one,) = view["evals"]
        assert (one["total"], one["in_flight"], one["queued"], one["failed"]) == (40, 6, 0, 0)
        assert view["state"] == "running"
        assert one["retries"] == 4
        assert one["errors"][0]["kind"] == "SlowDownError"
        assert one["errors"][0]["count"] == 4
        assert "<b>slow down</b>" in one["errors"][0]["message"]
        assert one["usage"]["prompt_tokens"] == 3400
        assert one["usage"]["cost"] == pytest.approx(0.034)
        right = sum(number % 4 != 0 for number in range(34))
        assert one["score"]["mean"] == pytest.approx(right / 34)
        assert one["score"]["low"] < right / 34 < one["score"]["high"]
        (executor,) = view["executors"]
        assert executor["pid"] == run.process.pid
        assert executor["memory"] > 1e6
        assert executor["gauges"]["endpoint limit"] == 37.0
        assert executor["commands"][0] == f"py-spy dump --pid {run.process.pid}"
        assert "live_eval.py" in view["stuck"][0]["where"]
        assert {task["task"].partition("/")[0] for task in view["stuck"]} == {"watched"}
        assert run.release() == 0
        over = until(found, lambda view: view["state"] == "done")
        assert over["evals"][0]["done"] == 40
        assert over["evals"][0]["summary"]["accuracy"] == pytest.approx(0.75)


@chz.chz
class OddSummary(Eval[Task, bool]):
    def get_name(self) -> str:
        return "odd"

    async def get_tasks(self) -> list[Task]:
        return [Task(question_id="q")]

    async def evaluate(self, task: Task) -> bool:
        return True

    async def get_summary(self, results: list[tuple[Task, bool]]) -> dict[str, Any]:
        return {"said": "\ud800", "huge": 2**70, "accuracy": float("nan")}


@pytest.fixture
def oddly_summed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state file of a run of `OddSummary`."""
    monkeypatch.setenv("NANOEVAL_STATE_DIR", str(tmp_path / "state"))
    runner = RunnerArgs(recorder=dummy_recorder(), should_backup=False)
    asyncio.run(run(EvalSpec(eval=OddSummary(), runner=runner)))
    (file,) = (tmp_path / "state").glob("*.db")
    return file


def test_whatever_a_summary_holds_is_shown(monitor: tuple[str, str], oddly_summed_up: Path) -> None:
    base, _ = monitor
    with views(base, run_set(base)) as found:
        (row,) = until(found, lambda view: view["state"] == "done")["evals"]
    assert row["summary"]["said"] == "\\ud800"
    assert row["summary"]["huge"] == str(2**70)


def test_a_run_set_whose_summary_is_no_json_is_shown(
    monitor: tuple[str, str], oddly_summed_up: Path
) -> None:
    with contextlib.closing(sqlite3.connect(oddly_summed_up)) as connection, connection:
        connection.execute("UPDATE eval SET summary = '{broken'")
    base, _ = monitor
    with views(base, run_set(base)) as found:
        (row,) = until(found, lambda view: view["state"] == "done")["evals"]
    assert row["done"] == 1


def test_the_limit_can_be_changed_while_it_runs(monitor: tuple[str, str], start_run: Start) -> None:
    run = start_run(300, 300)
    base, token = monitor
    name = run_set(base)
    url = f"{base}/api/live/{name}/concurrency"
    headers = {"x-nanoeval-token": token}
    with views(base, name) as found:
        view = until(found, lambda view: view["evals"][0]["in_flight"] == 64)
        eval_id = view["evals"][0]["id"]
        answer = post(url, json={"eval_id": eval_id, "limit": 100}, headers=headers)
        assert answer.json() == {"limit": 100}
        view = until(found, lambda view: view["evals"][0]["in_flight"] == 100)
        assert view["evals"][0]["concurrency"] == 100
    for body, status in [
        ({"eval_id": eval_id, "limit": 0}, 400),
        ({"eval_id": eval_id, "limit": "many"}, 400),
        ({"eval_id": eval_id}, 400),
        ({"eval_id": 99, "limit": 5}, 404),
    ]:
        assert post(url, json=body, headers=headers).status_code == status
    assert run.process.poll() is None


def test_the_monitor_of_a_run_goes_with_it(start_run: Start) -> None:
    run = start_run(20, 4, "use_monitor")
    base = run.read_url().partition("/#")[0]
    with views(base, run_set(base)) as found:
        until(found, lambda view: view["evals"][0]["done"] == 16)
    (monitor,) = psutil.Process(run.process.pid).children()
    assert run.release() == 0
    assert not monitor.is_running()


def test_a_run_that_is_killed_leaves_no_monitor(start_run: Start) -> None:
    run = start_run(20, 4, "use_monitor")
    assert run.read_url()
    (monitor,) = psutil.Process(run.process.pid).children()
    run.process.send_signal(signal.SIGKILL)
    psutil.wait_procs([monitor], timeout=PATIENCE)
    assert not monitor.is_running() or monitor.status() == psutil.STATUS_ZOMBIE


def test_without_a_monitor_installed_use_monitor_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **asked: ())
    with pytest.raises(ConfigError, match=re.escape('pip install "nanoeval[monitor]"')):
        find_monitor()


def point(at: float) -> Point:
    return Point(at=at, done=int(at), failed=0, retries=0, in_flight=1, tokens=0)


def test_history_keeps_the_whole_run_in_bounded_memory() -> None:
    history = History()
    for second in range(100_000):
        history.add(point(float(second)))
    assert len(history.points) < CAPACITY
    times = [one.at for one in history.points]
    assert times[0] == 0.0
    assert times[-1] > 99_000
    steps = {round(b - a) for a, b in itertools.pairwise(times)}
    assert max(steps) <= 2 * min(steps)


def test_quantiles() -> None:
    assert quantile([], 0.5) is None
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([float(n) for n in range(100)], 0.95) == 95.0


def test_state_files_of_others_are_passed_over(
    tmp_path: Path, start_monitor: Callable[..., tuple[str, str]]
) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "broken.db").write_bytes(b"no database")
    base, _ = start_monitor()
    assert get(f"{base}/api/live").json() == []
