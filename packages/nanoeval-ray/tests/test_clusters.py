"""Runs on real clusters of this machine, whose actors, nodes and drivers get killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nanoeval import run
from nanoeval.errors import ConfigError
from nanoeval.recorder import dummy_recorder

from tests.support.killed_runs import ROOT, RUN_SET, KilledRun, kill, until_gone
from tests.support.recorded_eval import make_spec

pytest.importorskip("nanoeval_ray", reason="needs Ray: `pip install nanoeval[ray]`")
from nanoeval_ray import RayExecutors
from ray.cluster_utils import Cluster

# Ray takes its time to start, and more of it on a machine that is busy.
pytestmark = pytest.mark.timeout(300)
RAY = {"executor": "ray", "num_processes": 2}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without room for executors, and a node with room for two."""
    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(num_cpus=2, resources={"special": 1})
        yield cluster
    finally:
        cluster.shutdown()


def run_on(cluster: Cluster, folder: Path, **eval: Any) -> KilledRun:
    runner = {**RAY, **eval.pop("runner", {})}
    killed = KilledRun(folder, runner=runner, **eval)
    killed.env["RAY_ADDRESS"] = cluster.address
    return killed


def finish(killed: KilledRun, driver: subprocess.Popen[str]) -> str:
    output, _ = driver.communicate()
    assert driver.returncode == 0, killed.stderr
    return output


def test_a_cluster_of_this_machine_ends_with_its_run_and_ctrl_c_is_resumed(
    tmp_path: Path,
) -> None:
    killed = KilledRun(tmp_path, runner={**RAY, "shutdown_grace": 0.1}, n=30, hold_after=10)
    killed.env.pop("RAY_ADDRESS", None)
    with killed.started() as driver:
        killed.until(lambda: len(killed.done()) >= 10 and len(killed.executors()) == 2, driver)
        done, pids = killed.done(), [*killed.executors().values(), *children(driver.pid)]
        assert len(pids) >= 4, "two executors, and Ray's own processes"
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
        driver.communicate()
        assert driver.returncode in (130, -signal.SIGINT)
    assert f"resume {RUN_SET}" in killed.stderr
    until_gone(pids)
    killed.let_go()
    with killed.started() as driver:
        output = finish(killed, driver)
    killed.assert_whole(output, done)
    logs = killed.query("SELECT log FROM executor WHERE pool = 'ray' AND host != ''")
    assert len(logs) in (3, 4), "two before, and the second of the others may come too late"
    assert all(Path(log).exists() for (log,) in logs)


def test_an_address_where_nobody_listens_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOEVAL_STATE_DIR", str(tmp_path))
    executor = RayExecutors(address="127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"RayExecutors\.address='127\.0\.0\.1:1': that Ray"):
        asyncio.run(run(make_spec(dummy_recorder(), runner={"executor": executor})))


def children(pid: int) -> list[int]:
    found = subprocess.run(
        ["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, check=True
    )
    return [int(child) for child in found.stdout.split()]


def test_concurrency_is_exact_over_executors_and_nodes_that_join(
    cluster: Cluster, tmp_path: Path
) -> None:
    runner = {"concurrency": 5, "num_processes": None}
    killed = run_on(cluster, tmp_path, n=30, hold_after=0, runner=runner)
    with killed.started() as driver:
        in_flight = "SELECT sum(in_flight) FROM executor WHERE state = 'running'"
        killed.until(lambda: len(killed.executors()) == 2, driver)
        killed.until(lambda: killed.query(in_flight) == [(5,)], driver)
        node = cluster.add_node(num_cpus=1)
        try:
            killed.until(lambda: len(killed.executors()) == 3, driver)
            assert killed.query("SELECT leased, queued FROM eval") == [(5, 25)]
        finally:
            cluster.remove_node(node)


def test_a_killed_actor_is_replaced_and_nothing_is_lost_or_done_twice(
    cluster: Cluster, tmp_path: Path
) -> None:
    killed = run_on(cluster, tmp_path, n=30, hold_after=10)
    with killed.started() as driver:
        killed.until(lambda: len(killed.done()) >= 10 and len(killed.executors()) == 2, driver)
        before, done = killed.executors(), killed.done()
        killed.let_go()
        for pid in before.values():
            kill(pid)
        output = finish(killed, driver)
    killed.assert_whole(output, done)
    states = dict(killed.query("SELECT name, state FROM executor"))
    assert {states.pop(name) for name in before} == {"dead"}
    assert set(states.values()) == {"stopped"}
    assert "; its output: /" in killed.stderr


def test_when_a_node_dies_its_tasks_move_to_one_that_joins(
    cluster: Cluster, tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=1)
    killed = run_on(cluster, tmp_path, n=30, hold_after=10, runner={"num_processes": 3})
    with killed.started() as driver:
        killed.until(lambda: len(killed.done()) >= 10 and len(killed.executors()) == 3, driver)
        before, done = killed.executors(), killed.done()
        killed.let_go()
        cluster.remove_node(node, allow_graceful=False)
        for pid in before.values():  # those of the other node too: what they hold never ends
            with contextlib.suppress(ProcessLookupError):
                kill(pid)
        cluster.add_node(num_cpus=1)
        output = finish(killed, driver)
    killed.assert_whole(output, done)


def test_a_killed_driver_leaves_no_executor_and_its_backup_resumes_elsewhere(
    cluster: Cluster, tmp_path: Path
) -> None:
    runner = {"should_backup": True, "backup_interval": 0.2}
    killed = run_on(cluster, tmp_path, n=30, hold_after=10, runner=runner)
    backup = tmp_path / "backups/killed.db"
    with killed.started() as driver:
        killed.until(lambda: len(killed.done()) >= 10 and len(killed.executors()) == 2, driver)
        executors, done = killed.executors(), killed.done()
        written = backup.stat().st_mtime_ns if backup.exists() else 0
        killed.until(lambda: backup.exists() and backup.stat().st_mtime_ns > written, driver)
        driver.send_signal(signal.SIGKILL)
    until_gone(executors.values())
    (tmp_path / "state").rename(tmp_path / "the other machine's")
    killed.let_go()
    with killed.started() as driver:
        output = finish(killed, driver)
    killed.assert_whole(output, done)


def test_a_script_s_own_classes_and_its_runtime_env_reach_the_executors(
    cluster: Cluster, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import asyncio, chz, os\n"
        "from nanoeval import Eval, EvalSpec, RunnerArgs, Task, run\n"
        "class Question(Task):\n"
        "    text: str\n"
        "class Reply:\n"
        "    def __init__(self, text): self.text = text\n"
        "@chz.chz\n"
        "class Mine(Eval[Question, Reply]):\n"
        "    def get_name(self): return 'mine'\n"
        "    async def get_tasks(self):\n"
        "        return [Question(question_id=str(i), text=f'q{i}') for i in range(5)]\n"
        "    async def evaluate(self, task): return Reply(task.text + os.environ['MARK'])\n"
        "    async def get_summary(self, results):\n"
        "        assert all(type(r) is Reply for _, r in results)\n"
        "        return {'replies': ''.join(sorted(r.text for _, r in results))}\n"
        "if __name__ == '__main__':\n"
        "    from nanoeval_ray import RayExecutors\n"
        "    executor = RayExecutors(\n"
        "        resources={'special': 0.5}, runtime_env={'env_vars': {'MARK': '!'}}\n"
        "    )\n"
        "    runner = RunnerArgs(executor=executor, num_processes=1)\n"
        "    print(asyncio.run(run(EvalSpec(eval=Mine(), runner=runner)))['replies'])\n"
    )
    killed = run_on(cluster, tmp_path, n=0)
    done = subprocess.run(
        [sys.executable, script],
        cwd=ROOT,
        env=killed.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["q0!q1!q2!q3!q4!"], done.stderr
