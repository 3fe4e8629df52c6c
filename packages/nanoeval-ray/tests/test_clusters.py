"""Runs on real clusters of this machine, whose actors, nodes and drivers get killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.killed_runs import ROOT, RUN_SET, KilledRun, kill, until_gone

pytest.importorskip("ray", reason="Ray is not installed: `pip install nanoeval[ray]`")
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
    run = KilledRun(folder, runner=runner, **eval)
    run.env["RAY_ADDRESS"] = cluster.address
    return run


def finish(run: KilledRun, driver: subprocess.Popen[str]) -> str:
    output, _ = driver.communicate()
    assert driver.returncode == 0, run.stderr
    return output


def test_a_cluster_of_this_machine_ends_with_its_run_and_ctrl_c_is_resumed(
    tmp_path: Path,
) -> None:
    run = KilledRun(tmp_path, runner={**RAY, "shutdown_grace": 0.1}, n=30, hold_after=10)
    run.env.pop("RAY_ADDRESS", None)
    with run.started() as driver:
        run.until(lambda: len(run.done()) >= 10 and len(run.executors()) == 2, driver)
        done, pids = run.done(), [*run.executors().values(), *children(driver.pid)]
        assert len(pids) >= 4, "two executors, and Ray's own processes"
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
        driver.communicate()
        assert driver.returncode in (130, -signal.SIGINT)
    assert f"run_set_id={RUN_SET}" in run.stderr
    until_gone(pids)
    run.let_go()
    with run.started() as driver:
        output = finish(run, driver)
    run.assert_whole(output, done)
    logs = run.query("SELECT log FROM executor WHERE kind = 'ray' AND host != ''")
    assert len(logs) == 4
    assert all(Path(log).exists() for (log,) in logs)


def children(pid: int) -> list[int]:
    found = subprocess.run(
        ["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, check=True
    )
    return [int(child) for child in found.stdout.split()]


def test_concurrency_is_exact_over_executors_and_nodes_that_join(
    cluster: Cluster, tmp_path: Path
) -> None:
    runner = {"concurrency": 5, "num_processes": None}
    run = run_on(cluster, tmp_path, n=30, hold_after=0, runner=runner)
    with run.started() as driver:
        in_flight = "SELECT sum(in_flight) FROM executor WHERE state = 'running'"
        run.until(lambda: len(run.executors()) == 2, driver)
        run.until(lambda: run.query(in_flight) == [(5,)], driver)
        node = cluster.add_node(num_cpus=1)
        try:
            run.until(lambda: len(run.executors()) == 3, driver)
            assert run.query("SELECT leased, queued FROM eval") == [(5, 25)]
        finally:
            cluster.remove_node(node)


def test_a_killed_actor_is_replaced_and_nothing_is_lost_or_done_twice(
    cluster: Cluster, tmp_path: Path
) -> None:
    run = run_on(cluster, tmp_path, n=30, hold_after=10)
    with run.started() as driver:
        run.until(lambda: len(run.done()) >= 10 and len(run.executors()) == 2, driver)
        before, done = run.executors(), run.done()
        run.let_go()
        for pid in before.values():
            kill(pid)
        output = finish(run, driver)
    run.assert_whole(output, done)
    states = dict(run.query("SELECT name, state FROM executor"))
    assert {states.pop(name) for name in before} == {"dead"}
    assert set(states.values()) == {"stopped"}
    assert "; its output: /" in run.stderr


def test_when_a_node_dies_its_tasks_move_to_one_that_joins(
    cluster: Cluster, tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=1)
    run = run_on(cluster, tmp_path, n=30, hold_after=10, runner={"num_processes": 3})
    with run.started() as driver:
        run.until(lambda: len(run.done()) >= 10 and len(run.executors()) == 3, driver)
        before, done = run.executors(), run.done()
        run.let_go()
        cluster.remove_node(node, allow_graceful=False)
        for pid in before.values():  # those of the other node too: what they hold never ends
            with contextlib.suppress(ProcessLookupError):
                kill(pid)
        cluster.add_node(num_cpus=1)
        output = finish(run, driver)
    run.assert_whole(output, done)


def test_a_killed_driver_leaves_no_executor_and_its_backup_resumes_elsewhere(
    cluster: Cluster, tmp_path: Path
) -> None:
    runner = {"should_backup": True, "backup_interval": 0.2}
    run = run_on(cluster, tmp_path, n=30, hold_after=10, runner=runner)
    backup = tmp_path / "backups/killed.db"
    with run.started() as driver:
        run.until(lambda: len(run.done()) >= 10 and len(run.executors()) == 2, driver)
        executors, done = run.executors(), run.done()
        written = backup.stat().st_mtime_ns if backup.exists() else 0
        run.until(lambda: backup.exists() and backup.stat().st_mtime_ns > written, driver)
        driver.send_signal(signal.SIGKILL)
    until_gone(executors.values())
    (tmp_path / "state").rename(tmp_path / "the other machine's")
    run.let_go()
    with run.started() as driver:
        output = finish(run, driver)
    run.assert_whole(output, done)


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
    run = run_on(cluster, tmp_path, n=0)
    done = subprocess.run(
        [sys.executable, script],
        cwd=ROOT,
        env=run.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["q0!q1!q2!q3!q4!"], done.stderr
