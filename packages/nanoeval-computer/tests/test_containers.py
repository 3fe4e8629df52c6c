"""Containers of a real Podman: limits, networks, side containers, faults, and no orphans."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nanoeval import EvalSpec, RolloutSystemError, RunnerArgs, run
from nanoeval.errors import ConfigError
from nanoeval.solvers.computer_tasks.code_execution_interface import (
    ComputerConfiguration,
    ContainerResources,
    JupyterComputerInterface,
    VolumeMount,
)
from nanoeval.solvers.computer_tasks.containers import ContainerMachine, ContainerRuntime
from nanoeval.solvers.computer_tasks.machine import MachineLost
from nanoeval.solvers.computer_tasks.maintenance import (
    clean_containers,
    describe_engine,
    play_task,
)
from nanoeval_recorder import in_memory_recorder

from tests.support.fake_machine import NumberSolver, OwnTasks, number_task
from tests.support.podman import Engine
from tests.support.script import run_python

pytestmark = pytest.mark.timeout(240)  # real machines, on a busy host


@pytest.fixture(autouse=True)
def folders(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "LOG", "BACKUP"):
        monkeypatch.setenv(f"NANOEVAL_{name}_DIR", str(tmp_path / name))


SERVICES = """
services:
  main: {image: IMAGE, depends_on: {web: {condition: service_healthy}}, volumes: ["shared:/shared"]}
  init:
    image: IMAGE
    command: sh -c 'echo from-init > /shared/index.html'
    volumes: ["shared:/shared"]
  web:
    image: IMAGE
    depends_on: {init: {condition: service_completed_successfully}}
    environment: {GREETING: hello}
    command: [sh, -c, "echo $GREETING > /tmp/greeting; httpd -f -p 80 -h /shared"]
    healthcheck: {test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1/"], interval: 100ms}
    volumes: ["shared:/shared"]
volumes: {shared: {}}
"""


@contextlib.asynccontextmanager
async def started(
    engine: Engine, runtime: dict[str, Any] | None = None, **task: Any
) -> AsyncIterator[ContainerMachine]:
    task = {"docker_image": engine.image, **task}
    async with ContainerRuntime(**(runtime or {})).run(ComputerConfiguration(**task)) as computer:
        assert isinstance(computer, ContainerMachine)
        yield computer


def inspect(engine: Engine, name: str) -> dict[str, Any]:
    return json.loads(engine.podman("inspect", name))[0]  # type: ignore[no-any-return]


def test_nothing_is_limited_but_what_the_task_limits(engine: Engine) -> None:
    async def limits(**task: Any) -> dict[str, Any]:
        async with started(engine, **task) as computer:
            return inspect(engine, computer.name)["HostConfig"]  # type: ignore[no-any-return]

    free = asyncio.run(limits())
    assert (free["NanoCpus"], free["Memory"]) == (0, 0)
    assert free["PidsLimit"] == 1024
    bound = asyncio.run(
        limits(limits=ContainerResources(cpu=0.5), mem_limit="128m", shm_size="32m")
    )
    assert (bound["NanoCpus"], bound["Memory"]) == (5 * 10**8, 128 * 2**20)
    assert bound["ShmSize"] == 32 * 2**20
    memory = asyncio.run(limits(resources=ContainerResources(memory=256)))
    assert (memory["NanoCpus"], memory["Memory"]) == (0, 256 * 2**20)


def test_mounts_are_read_only(engine: Engine, tmp_path: Any) -> None:
    (tmp_path / "data").write_text("given")
    mount = VolumeMount(host_path=str(tmp_path), container_path="/mnt/data")

    async def go() -> None:
        async with started(engine, volume_mounts=[mount]) as computer:
            assert await computer.download("/mnt/data/data") == b"given"
            written = await computer.send_shell_command("echo x > /mnt/data/data")
            assert written.exit_code != 0

    asyncio.run(go())


def test_single_machines_have_no_network(engine: Engine) -> None:
    async def go() -> None:
        async with started(engine) as computer:
            shown = await computer.check_shell_command("tail -n +3 /proc/net/dev | wc -l")
            assert shown.output.strip() == b"1"  # lo
            await computer.disable_internet()

    asyncio.run(go())


def test_an_open_machine_is_found_out_and_can_be_closed(engine: Engine) -> None:
    async def go() -> None:
        async with started(engine, network_mode="unproxied") as computer:
            routes = "cat /proc/net/route"
            assert b"\t00000000\t" in (await computer.check_shell_command(routes)).output
            await computer.disable_internet()
            closed = await computer.send_shell_command(routes)
            assert closed.output.count(b"\n") <= 1

    asyncio.run(go())


def test_what_answers_from_outside_is_refused(engine: Engine) -> None:
    """A machine that should be offline, and has an address that is on the internet."""

    async def go() -> None:
        async with started(engine) as computer:
            network = ["--privileged", "-d", f"--network=container:{computer.name}"]
            serve = "ip addr add 1.1.1.1/32 dev lo; touch up; httpd -f -p 53 -h /"
            refused = pytest.raises(RolloutSystemError, match=r"no internet.*1\.1\.1\.1")
            with engine.container(*network, engine.image, "sh", "-c", serve), refused:
                while True:  # until it listens
                    await computer.disable_internet()

    asyncio.run(go())


@pytest.mark.parametrize("mode", ["none", "unproxied"])
def test_side_containers_answer_also_without_the_internet(engine: Engine, mode: str) -> None:
    yaml = SERVICES.replace("IMAGE", engine.image)

    async def go() -> None:
        async with started(
            engine, docker_image=None, docker_compose_yaml=yaml, network_mode=mode
        ) as computer:
            assert len(await computer.fetch_container_names()) == 3
            for _ in range(2):
                page = await computer.check_shell_command("wget -q -O - http://web/")
                assert page.output == b"from-init\n"
                await computer.disable_internet()
            assert await computer.download("/shared/index.html") == b"from-init\n"
        assert engine.names() == []

    asyncio.run(go())


@pytest.mark.timeout(400)
def test_forty_rollouts_with_side_containers(engine: Engine) -> None:
    task = {"docker_image": engine.image, "side_images": [engine.image]}
    runtime = ContainerRuntime()
    slots = asyncio.Semaphore(10)

    async def one() -> list[str]:
        async with slots, runtime.run(ComputerConfiguration(**task)) as computer:
            await computer.check_shell_command("grep side0 /etc/hosts")
            return await computer.fetch_container_names()

    async def go() -> list[list[str]]:
        async with asyncio.TaskGroup() as group:
            rollouts = [group.create_task(one()) for _ in range(40)]
        return [rollout.result() for rollout in rollouts]

    names = asyncio.run(go())
    assert len({name for rollout in names for name in rollout}) == 80
    assert engine.names() == []


def test_a_service_that_never_gets_healthy_is_named(engine: Engine) -> None:
    yaml = """
services:
  main: {image: IMAGE, depends_on: {sick: {condition: service_healthy}}}
  sick: {image: IMAGE, command: sleep 600, healthcheck: {test: "false", interval: 10ms, retries: 2}}
""".replace("IMAGE", engine.image)

    async def go() -> None:
        async with started(engine, docker_image=None, docker_compose_yaml=yaml):
            pass

    with pytest.raises(RolloutSystemError, match="service sick is not healthy after 2 checks"):
        asyncio.run(go())
    assert engine.names() == []


def test_images_are_looked_at_before_the_run(engine: Engine) -> None:
    def check(image: str, **runtime: Any) -> None:
        task = ComputerConfiguration(docker_image=image)
        asyncio.run(ContainerRuntime(**runtime).check_tasks([task]))

    check(engine.image)
    missing = "localhost/no-such-image:1"
    with pytest.raises(ConfigError, match=r"'localhost/no-such-image:1' is missing, and pull"):
        check(missing, pull="never")
    with pytest.raises(ConfigError, match=r"'localhost/no-such-image:1' is missing and cannot be"):
        check(missing)
    engine.podman("tag", engine.image, "localhost/bare:1")
    with engine.container("--network=none", engine.image, "rm", "/bin/bash") as name:
        engine.podman("commit", name, "localhost/bare:1")
    with pytest.raises(ConfigError, match="bash cannot be started in it"):
        check("localhost/bare:1")
    assert engine.names() == []


def test_an_image_for_another_architecture_is_refused(engine: Engine) -> None:
    other = "arm64" if engine.architecture() != "arm64" else "amd64"
    engine.import_empty_image("localhost/other:1", other)
    with pytest.raises(ConfigError, match=f"is for {other}, and the engine runs on"):
        asyncio.run(
            ContainerRuntime().check_tasks(
                [ComputerConfiguration(docker_image="localhost/other:1")]
            )
        )


def test_no_image_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="no image: set docker_image"):
        asyncio.run(ContainerRuntime().check_tasks([ComputerConfiguration()]))


def test_a_kernel_runs_in_a_container_without_a_network(engine: Engine) -> None:
    """The machine has this Python and what it is installed with, mounted from here."""
    pytest.importorskip("ipykernel")
    folders = {sys.prefix, sys.base_prefix, *(path for path in sys.path if "site-packages" in path)}
    folders |= {folder for folder in ("/lib", "/lib64", "/usr/lib") if Path(folder).is_dir()}
    mounts = [VolumeMount(host_path=path, container_path=path) for path in sorted(folders)]
    task: Any = {"docker_image": engine.image, "cwd": "/tmp", "volume_mounts": mounts}

    async def go() -> None:
        config = ComputerConfiguration(jupyter_setup=[sys.executable], **task)
        async with ContainerRuntime().run(config) as computer:
            assert isinstance(computer, JupyterComputerInterface)
            cell = await computer.check_execute("import os; print(os.getcwd()); 6 * 7")
            assert (cell.output, cell.parsed_final_expression_output) == ("/tmp\n", 42)
            slow = await computer.execute("import time; time.sleep(600)", timeout=1)
            assert slow.status == "cancelled"
            died = await computer.execute("os.kill(os.getpid(), 9)")
            assert died.status == "failed_with_kernel_death"
            assert (await computer.check_execute("1")).final_expression_output == "1"
            await computer.send_shell_command("pkill -9 -f jupyter_client")
            assert (await computer.check_execute("2")).final_expression_output == "2"
        assert engine.names() == []
        bare = ComputerConfiguration(docker_image=engine.image, jupyter_setup=["python3"])
        with pytest.raises(ConfigError, match="cannot run a Jupyter kernel: python3 lacks"):
            async with ContainerRuntime().run(bare):
                pass

    asyncio.run(go())


# Whose fault it is. Docs have the same table.

AGENT_FAULTS = {
    "deleted shell": "rm -f /bin/bash; kill -9 $PPID",
    "kill 1": "kill -9 -1; kill -9 1; kill -TERM 1",
    "fork bomb": ":(){ :|:& };:; sleep 1; :(){ :|:& };:",
}


@pytest.mark.parametrize("fault", AGENT_FAULTS)
def test_what_the_agent_does_is_told_or_loses_the_machine(engine: Engine, fault: str) -> None:
    """The command itself ends in a message or in `MachineLost`; so do all that follow it."""

    async def go() -> None:
        async with started(engine, {"pids_limit": 60}) as computer:
            for command in (AGENT_FAULTS[fault], "echo still here", "echo still here"):
                with contextlib.suppress(MachineLost):
                    await computer.send_shell_command(command, timeout=2)

    asyncio.run(go())
    assert engine.names() == []


def test_a_machine_without_a_first_process_is_lost(engine: Engine) -> None:
    async def go() -> None:
        async with started(engine) as computer:
            await computer.send_shell_command("echo an agent was here")
            engine.podman("kill", computer.name)
            lost = pytest.raises(MachineLost, match="its first process has ended")
            with lost:  # at the second command at the latest
                await computer.send_shell_command("echo")
                await computer.send_shell_command("echo")

    asyncio.run(go())


def test_a_machine_that_ends_before_any_command_is_a_system_error(engine: Engine) -> None:
    async def go() -> None:
        async with started(engine) as computer:
            engine.podman("kill", computer.name)
            for _ in range(2):
                await computer.send_shell_command("echo", idempotent=True)

    with pytest.raises(RolloutSystemError, match="failed before it was used"):
        asyncio.run(go())


def test_a_container_removed_from_outside_is_a_system_error(engine: Engine) -> None:
    async def go() -> None:
        async with started(engine) as computer:
            await computer.send_shell_command("echo an agent was here")
            engine.podman("rm", "-f", "-t", "0", computer.name)
            for _ in range(2):
                await computer.send_shell_command("echo")

    with pytest.raises(RolloutSystemError, match="was removed from outside"):
        asyncio.run(go())
    assert engine.names() == []


def test_out_of_memory_is_told(engine: Engine) -> None:
    async def go() -> None:
        async with started(engine, mem_limit="40m") as computer:
            eat = "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}"
            result = await computer.send_shell_command(eat, timeout=60)
            assert result.exit_code == 137
            assert (await computer.send_shell_command("echo on")).output == b"on\n"

    asyncio.run(go())


def test_a_full_disk_is_told(engine: Engine) -> None:
    async def go() -> None:
        async with started(engine, shm_size="1m") as computer:
            result = await computer.send_shell_command("head -c 3000000 /dev/zero > /dev/shm/x")
            assert result.exit_code != 0
            assert b"head: " in result.output
            with pytest.raises(OSError, match=r"/dev/shm/y in the machine cannot be .* written"):
                await computer.upload(b"x" * 3_000_000, "/dev/shm/y")

    asyncio.run(go())


def test_an_engine_that_does_not_run_is_named(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    runtime, task = ContainerRuntime(), ComputerConfiguration(docker_image="any")
    with pytest.raises(ConfigError, match=r"no\.sock.*Does the engine run\?"):
        asyncio.run(runtime.check_tasks([task]))

    async def go() -> None:
        async with runtime.run(task):
            pass

    with pytest.raises(RolloutSystemError, match="the container engine failed at reaching it"):
        asyncio.run(go())


def test_an_engine_that_stops_in_mid_run_is_a_system_error(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    async def go() -> None:
        async with started(engine) as computer:
            await computer.send_shell_command("echo an agent was here")
            engine.stop()
            for _ in range(2):
                await computer.send_shell_command("echo")

    try:
        with (
            caplog.at_level(logging.WARNING),
            pytest.raises(RolloutSystemError, match="the container engine failed"),
        ):
            asyncio.run(go())
        assert "is left to be removed later" in caplog.text
    finally:
        engine.start()
    engine.podman("rm", "-fa", "-t", "0")


def test_large_files_go_up_and_down_in_constant_memory(engine: Engine, tmp_path: Path) -> None:
    """Three times as large as the memory that it may take; 2 GB take the same, and a minute."""
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.truncate(300 * 2**20)
    done = run_python(
        *("-m", "tests.support.transfer", engine.image, source, target),
        folder=tmp_path,
        DOCKER_HOST=engine.url,
    )
    target.unlink()
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100


# What is left, and who removes it.


def test_two_runs_side_by_side_and_one_cleaned(engine: Engine) -> None:
    async def go() -> None:
        async with started(engine) as computer:
            dead = {"nanoeval.owner": "1:1:other-boot"}
            left = engine.left_by(dead)
            assert await asyncio.to_thread(clean_containers) == [left]
            assert engine.names() == [computer.name]

    asyncio.run(go())
    assert engine.names() == []


def test_kept_machines_stay_and_say_how_to_enter_them(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    async def go() -> str:
        async with started(engine, {"keep_machines": True}) as computer:
            return computer.name

    name = asyncio.run(go())
    assert f"podman exec -it {name} bash" in caplog.text
    assert clean_containers() == []
    assert engine.names() == [name]
    assert clean_containers(kept=True) == [name]


def test_the_engine_is_described(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    about = describe_engine()
    assert about.url == engine.url
    assert "Podman" in about.name
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such.sock")
    about = describe_engine()
    assert about.name == ""
    assert "/no/such.sock" in about.problems[0]


def test_a_person_can_play_a_task(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["printf 1 > /root/number", "exit"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    task = number_task(docker_image=engine.image)
    assert asyncio.run(play_task(task, ContainerRuntime())).grade.score == 1


def test_what_was_started_is_recorded(engine: Engine, tmp_path: Any) -> None:
    task = number_task(docker_image=engine.image, mem_limit="64m")
    solver = NumberSolver(computer_runtime=ContainerRuntime(), trace=str(tmp_path / "trace"))
    recorder = in_memory_recorder()
    args: Any = {"recorder": recorder, "enable_slackbot": False, "max_retries": 0}
    spec = EvalSpec(eval=OwnTasks(solver=solver, tasks=[task]), runner=RunnerArgs(**args))
    assert asyncio.run(run(spec))["accuracy"] == 1.0
    (machine,) = [
        event.data["machine"]
        for event in recorder.events
        if event.type == "extra" and "machine" in event.data
    ]
    assert re.search(r"[0-9a-f]{64}", machine["digests"][engine.image])
    assert machine["applied"]["Memory"] == 64 * 2**20
    assert machine["network_mode"] == "none"
