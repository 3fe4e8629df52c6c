"""What `runner.executor=ray` takes, and refuses."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from nanoeval import RunnerArgs
from nanoeval.errors import ConfigError
from nanoeval_core.executors import find_executor
from nanoeval_runner.command_line import from_command_line

pytest.importorskip("nanoeval_ray", reason="needs Ray: `pip install nanoeval[ray]`")
from nanoeval_ray import RayExecutors


def main(runner: RunnerArgs) -> RunnerArgs:
    return runner


def test_it_is_found_by_name() -> None:
    assert find_executor("ray") is RayExecutors
    runner = from_command_line(main, ["runner.executor=ray"])
    assert runner.executor == RayExecutors()
    assert RunnerArgs(executor="ray", num_processes=3).executor_name == "ray"


def test_its_options_come_from_the_command_line() -> None:
    runner = from_command_line(
        main,
        [
            "runner.executor=ray",
            "runner.num_processes=8",
            "runner.executor.address=10.0.0.1:6379",
            "runner.executor.num_cpus=0.5",
            "runner.executor.resources={'tpu': 2}",
            "runner.executor.runtime_env={'working_dir': '.', 'env_vars': {'A': 'b'}}",
        ],
    )
    assert runner.executor == RayExecutors(
        address="10.0.0.1:6379",
        num_cpus=0.5,
        resources={"tpu": 2},
        runtime_env={"working_dir": ".", "env_vars": {"A": "b"}},
    )
    assert runner.executor.demand == {"CPU": 0.5, "tpu": 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_cpus": -1}, "RayExecutors.num_cpus=-1: give a number, 0 or more"),
        ({"resources": {"tpu": "many"}}, "RayExecutors.resources['tpu']='many': give a number"),
        ({"actor_options": {"num_gpus": 1}}, "set RayExecutors.num_gpus instead"),
        ({"actor_options": {"max_restarts": 1}}, "nanoeval sets it itself"),
        ({"init_options": {"address": "auto"}}, "set RayExecutors.address instead"),
    ],
)
def test_contradictions_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        RayExecutors(**options)
    assert message in str(refusal.value)


def test_it_contradicts_the_pool_of_processes() -> None:
    with pytest.raises(ConfigError, match="experimental_use_multiprocessing"):
        RunnerArgs(executor=RayExecutors(), experimental_use_multiprocessing=True)


def test_ray_is_imported_when_executors_are_started_and_not_before() -> None:
    code = (
        "import sys\n"
        "from nanoeval import RunnerArgs, run\n"
        "from nanoeval_ray import RayExecutors\n"
        "RunnerArgs(executor=RayExecutors(num_gpus=1))\n"
        "sys.exit('ray' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
