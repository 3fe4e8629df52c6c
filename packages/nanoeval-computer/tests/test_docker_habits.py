"""Containers over a Docker API that behaves as Docker does: no engine is needed."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nanoeval import RolloutSystemError
from nanoeval.errors import ConfigError
from nanoeval.solvers.computer_tasks.code_execution_interface import (
    ComputerConfiguration,
    ContainerResources,
    VolumeMount,
)
from nanoeval.solvers.computer_tasks.containers import ContainerMachine, ContainerRuntime
from nanoeval.solvers.computer_tasks.machine import MachineLost
from nanoeval.solvers.computer_tasks.maintenance import clean_containers, describe_engine
from nanoeval_computer._reaper.process import LATE_SECONDS, EngineAPI, remove_left, this_host

from tests.support.fake_docker import FakeDocker
from tests.support.script import environment

OCI = 'OCI runtime exec failed: exec failed: unable to start container process: "fork" failed'


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDocker]:
    with FakeDocker() as fake:
        monkeypatch.setenv("DOCKER_HOST", fake.url)
        yield fake
        assert fake.containers == {}
        assert fake.networks == {}
        assert fake.volumes == {}


@contextlib.asynccontextmanager
async def started(folder: Path, **task: Any) -> AsyncIterator[ContainerMachine]:
    """A machine in `folder`: containers of the fake share this host's files."""
    task = {"docker_image": "image:1", "cwd": str(folder), **task}
    runtime = ContainerRuntime()
    async with runtime._start_computer(ComputerConfiguration(**task)) as computer:
        assert isinstance(computer, ContainerMachine)
        computer.check_offline = nothing  # type: ignore[method-assign]
        yield computer


async def nothing() -> None:
    """In place of looking at the network, which is this host's."""


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network of the fake's containers is this host's: it is not looked at."""

    async def unchecked(self: ContainerMachine) -> None:
        pass

    monkeypatch.setattr(ContainerMachine, "check_offline", unchecked)


def test_a_background_process_that_holds_the_output_open_is_no_matter(
    docker: FakeDocker, tmp_path: Path
) -> None:
    async def go() -> None:
        async with started(tmp_path) as computer:
            result = await computer.send_shell_command("setsid sleep 4545 & echo on", timeout=60)
            assert (result.output, result.exit_code) == (b"on\n", 0)
            await computer.upload(b"x" * 100_000, f"{tmp_path}/file")
            assert await computer.download(f"{tmp_path}/file") == b"x" * 100_000
            # The shell dies, and what it ran goes on holding its output: the time ends it.
            result = await computer.send_shell_command("kill -9 $PPID; sleep 4545", timeout=0.5)
            assert result.timed_out
            assert (await computer.send_shell_command("exit 7")).exit_code == 7

    asyncio.run(go())


def test_one_exec_serves_all_commands(docker: FakeDocker, tmp_path: Path) -> None:
    async def go() -> None:
        async with started(tmp_path) as computer:
            for _ in range(20):
                await computer.check_shell_command("true")

    asyncio.run(go())
    assert sum(request.endswith("/exec") for request in docker.requests) == 1


@pytest.mark.parametrize("status", [409, 500])
def test_an_exec_that_fails_once_is_tried_again(
    docker: FakeDocker, tmp_path: Path, status: int
) -> None:
    async def go() -> None:
        async with started(tmp_path) as computer:
            docker.answers.append((r"POST /containers/.*/exec", status, "try again"))
            assert (await computer.send_shell_command("echo x >> log; cat log")).output == b"x\n"

    asyncio.run(go())


@pytest.mark.parametrize("used", [False, True], ids=["before the agent", "after it"])
def test_an_exec_that_goes_on_failing(docker: FakeDocker, tmp_path: Path, used: bool) -> None:
    async def go() -> None:
        async with started(tmp_path) as computer:
            if used:
                await computer.send_shell_command("kill -9 $PPID")
            docker.answers += [(r"POST /containers/.*/exec", 500, OCI)] * 3
            await computer.send_shell_command("echo", idempotent=True)

    with pytest.raises(MachineLost if used else RolloutSystemError, match="OCI runtime"):
        asyncio.run(go())


def test_an_error_in_place_of_output_is_no_output(docker: FakeDocker, tmp_path: Path) -> None:
    """Podman prints what went wrong where the program's output should be."""

    async def go() -> None:
        async with started(tmp_path) as computer:
            broken = ["sh", "-c", f"echo '{OCI}'; exit 125"]
            spawn = computer._spawn
            computer._spawn = lambda argv: spawn(broken)  # type: ignore[method-assign]
            await computer.send_shell_command("echo", idempotent=True)

    with pytest.raises(RolloutSystemError, match="no shell can be started in it: OCI runtime"):
        asyncio.run(go())


def test_what_an_engine_says_before_a_shell_starts_is_no_output(
    docker: FakeDocker, tmp_path: Path
) -> None:
    async def go() -> None:
        async with started(tmp_path) as computer:
            spawn, first = computer._spawn, ["sh", "-c", f"echo '{OCI}'; exit 125"]
            argvs = iter([first])
            computer._spawn = lambda argv: spawn(next(argvs, argv))  # type: ignore[method-assign]
            assert (await computer.send_shell_command("echo on")).output == b"on\n"

    asyncio.run(go())


def test_a_machine_that_ran_out_of_memory_says_so(docker: FakeDocker, tmp_path: Path) -> None:
    async def go() -> None:
        async with started(tmp_path) as computer:
            await computer.send_shell_command("echo an agent was here")
            docker.end(computer.name, out_of_memory=True)
            await computer.send_shell_command("echo")

    with pytest.raises(MachineLost, match="ended with code 137, out of memory"):
        asyncio.run(go())


SICK = """
services:
  main: {image: "image:1", depends_on: {sick: {condition: service_healthy}}}
  sick: {image: "image:1", command: sleep 600,
         healthcheck: {test: "false", interval: 10ms, retries: 2}}
"""


async def act(computer: ContainerMachine) -> None:
    await computer.send_shell_command("echo an agent was here")


async def look(computer: ContainerMachine) -> None:
    await computer.send_shell_command("echo", idempotent=True)


def end(docker: FakeDocker, name: str) -> None:
    docker.end(name)


def remove(docker: FakeDocker, name: str) -> None:
    docker.end(name)
    del docker.containers[name]


def break_off(docker: FakeDocker, name: str) -> None:
    docker.broken = r"POST .*/exec"


# What happens, whether the agent has acted before, and whose fault it is. Docs have the same table.
FAULTS: dict[str, tuple[Callable[[FakeDocker, str], None], bool, type[Exception], str]] = {
    "ends before": (end, False, RolloutSystemError, "failed before it was used"),
    "ends after": (end, True, MachineLost, "its first process has ended with code 137"),
    "removed before": (remove, False, RolloutSystemError, "was removed from outside"),
    "removed after": (remove, True, RolloutSystemError, "was removed from outside"),
    "engine gone before": (break_off, False, RolloutSystemError, "the container engine failed"),
    "engine gone after": (break_off, True, RolloutSystemError, "the container engine failed"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whose_fault_it_is(docker: FakeDocker, tmp_path: Path, fault: str) -> None:
    happen, has_acted, error, why = FAULTS[fault]

    async def go() -> None:
        async with started(tmp_path) as computer:
            await (act(computer) if has_acted else asyncio.sleep(0))
            await computer.close()  # the next command needs a new shell
            happen(docker, computer.name)
            await look(computer)

    with pytest.raises(error, match=why):
        asyncio.run(go())


def test_a_service_that_is_sick_is_a_system_error(docker: FakeDocker, tmp_path: Path) -> None:
    async def go() -> None:
        async with started(tmp_path, docker_image=None, docker_compose_yaml=SICK):
            pass

    with pytest.raises(RolloutSystemError, match="service sick is not healthy after 2 checks"):
        asyncio.run(go())


def test_what_a_task_asks_for_is_what_the_engine_is_asked_for(
    docker: FakeDocker, tmp_path: Path
) -> None:
    mount = VolumeMount(host_path="/data", container_path="/mnt")
    asked = {
        "num_gpus": 2,
        "mem_limit": "1g",
        "shm_size": "64m",
        "limits": ContainerResources(cpu=1.5),
        "volume_mounts": [mount],
    }

    async def go() -> dict[str, Any]:
        async with started(tmp_path, **asked) as computer:
            return docker.containers[computer.name]["Config"]["HostConfig"]  # type: ignore[no-any-return]

    config = asyncio.run(go())
    assert config["DeviceRequests"] == [{"Count": 2, "Capabilities": [["gpu"]]}]
    assert (config["Memory"], config["MemorySwap"], config["ShmSize"]) == (2**30, 2**30, 2**26)
    assert (config["NanoCpus"], config["PidsLimit"]) == (1_500_000_000, 1024)
    assert config["Binds"] == ["/data:/mnt:ro"]
    assert config["Init"] is True
    assert config["NetworkMode"] == "none"


def test_nothing_that_is_not_idempotent_is_sent_twice(docker: FakeDocker, tmp_path: Path) -> None:
    async def go() -> None:
        async with started(tmp_path) as computer:
            for idempotent, lines in ((False, 1), (True, 3)):
                command = "echo x >> log; kill -9 $PPID; sleep 0.1"
                result = await computer.send_shell_command(command, idempotent=idempotent)
                assert result.exit_code == 137
                log = await computer.send_shell_command("wc -l < log")
                assert int(log.output) == lines

    asyncio.run(go())


def test_ranges_that_are_taken_are_left_to_others(docker: FakeDocker, tmp_path: Path) -> None:
    docker.answers += [
        ("POST /networks/create", 403, "Pool overlaps with other one on this address space")
    ] * 5
    services = "services: {main: {image: 'image:1'}, side: {image: 'image:1', command: sleep 600}}"

    async def go() -> None:
        async with started(tmp_path, docker_image=None, docker_compose_yaml=services) as computer:
            (network,) = docker.networks.values()
            assert network["Internal"]
            assert network["IPAM"]["Config"][0]["Subnet"].endswith("/27")
            hosts = docker.containers[computer.name]["Config"]["HostConfig"]["ExtraHosts"]
            assert [host.partition(":")[0] for host in hosts] == ["side", "main"]

    asyncio.run(go())


def test_no_free_address_pool_is_a_system_error(docker: FakeDocker, tmp_path: Path) -> None:
    docker.answers.append(
        ("POST /networks/create", 500, "could not find an available IPv4 address pool")
    )

    async def go() -> None:
        async with started(tmp_path, side_images=["image:1"]):
            pass

    with pytest.raises(RolloutSystemError, match="could not find an available IPv4 address pool"):
        asyncio.run(go())


def test_a_removal_that_is_in_progress_is_one_and_one_that_fails_is_tried_again(
    docker: FakeDocker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def go() -> None:
        async with started(tmp_path):
            docker.answers += [("DELETE /containers/", 500, "container state improper")] * 2
        assert docker.containers == {}
        async with started(tmp_path) as computer:
            busy = f"removal of container {computer.name} is already in progress"
            docker.answers.append((r"DELETE /containers/.*", 409, busy))

    asyncio.run(go())
    assert "left to be removed later" not in caplog.text
    for name in list(docker.containers):
        docker.end(name)
        del docker.containers[name]


def test_starts_are_bounded(docker: FakeDocker, tmp_path: Path) -> None:
    task = ComputerConfiguration(docker_image="image:1", cwd=str(tmp_path))
    runtime = ContainerRuntime(max_starting=1)

    async def go() -> None:
        async def one() -> None:
            async with runtime._start_computer(task):
                pass

        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(one())

    asyncio.run(go())
    containers = [request for request in docker.requests if request.startswith("POST /containers")]
    steps = [request.rpartition("/")[2] for request in containers]
    assert [step for step in steps if step != "exec"] == ["create", "start"] * 5


def test_images_are_refused_before_anything_starts(docker: FakeDocker) -> None:
    docker.images["arm:1"] = {"Id": "sha256:2", "Architecture": "arm64"}
    for image, problem in (
        ("missing:1", "'missing:1' is missing and cannot be pulled: pull access denied"),
        ("arm:1", "'arm:1' is for arm64, and the engine runs on amd64"),
    ):
        task = ComputerConfiguration(docker_image=image)
        with pytest.raises(ConfigError, match=problem):
            asyncio.run(ContainerRuntime().check_tasks([task]))


def test_a_mount_of_nothing_is_refused_before_the_engine_makes_a_folder_of_it(
    docker: FakeDocker, tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing")
    composed = f"services: {{main: {{image: 'image:1', volumes: ['{missing}:/mnt:ro']}}}}"
    for fields in (
        {"volume_mounts": [VolumeMount(host_path=missing, container_path="/mnt")]},
        {"docker_compose_yaml": composed},
    ):
        task = ComputerConfiguration(docker_image="image:1", **fields)
        with pytest.raises(ConfigError, match=f"{missing} is to be mounted and does not exist"):
            asyncio.run(ContainerRuntime().check_tasks([task]))


def test_a_name_is_labeled_and_removed_late(docker: FakeDocker, tmp_path: Path) -> None:
    async def go() -> None:
        async with started(tmp_path) as computer:
            labels = docker.containers[computer.name]["Config"]["Labels"]
            assert labels["nanoeval.host"] == this_host()
            assert labels["nanoeval.owner"].count(":") == 2
            # The reaper looks once, when it starts, for what others left.
            while "GET /volumes" not in docker.requests:  # noqa: ASYNC110  in another process
                await asyncio.sleep(0.01)
            assert clean_containers() == []  # its owner is alive
            docker.containers[computer.name]["Config"]["Labels"]["nanoeval.owner"] = "1:1:1"
            assert clean_containers() == [computer.name]

    asyncio.run(go())
    # What the reaper was told of and that is not there: it keeps looking, for ten seconds at most.
    api = EngineAPI(docker.url)
    docker.answers += [("DELETE /containers/late", 404, "not yet")] * 3
    docker.answers.append(("DELETE /containers/late", 204, "gone"))
    remove_left(api, {"late": "container"})
    assert docker.answers == []


HANG = """
import asyncio
from nanoeval.solvers.computer_tasks.code_execution_interface import (
    ComputerConfiguration,
    ContainerResources,
    VolumeMount,
)
from nanoeval.solvers.computer_tasks.containers import ContainerRuntime

runtime = ContainerRuntime(max_starting=5)
task = ComputerConfiguration(docker_image="image:1", cwd="/tmp", network_mode="unproxied")


async def hang():
    async with runtime._start_computer(task):
        print("up", flush=True)
        await asyncio.Event().wait()


async def main():
    await asyncio.gather(*(hang() for _ in range(25)))


asyncio.run(main())
"""


def test_a_killed_program_leaves_nothing(docker: FakeDocker, tmp_path: Path) -> None:
    """With twenty machines up and five being created."""
    env = environment(tmp_path, DOCKER_HOST=docker.url)
    program = subprocess.Popen([sys.executable, "-c", HANG], stdout=subprocess.PIPE, env=env)
    assert program.stdout is not None
    for _ in range(20):
        assert program.stdout.readline() == b"up\n"
    program.kill()
    program.communicate()
    deadline = time.monotonic() + LATE_SECONDS
    while docker.containers:
        assert time.monotonic() < deadline, "containers of a dead program are left"
        time.sleep(0.05)


def test_what_an_engine_cannot_limit_is_told(docker: FakeDocker) -> None:
    about = describe_engine()
    assert about.name == "Docker 27.0"
    assert about.problems == (
        "the number of processes cannot be limited: tasks that set it are started without",
    )


@pytest.mark.parametrize(
    ("yaml", "problem"),
    [
        ("services: {main: {image: x, privileged: true}}", "services.main.privileged"),
        ("services: {main: {build: .}}", "services.main.build"),
        ("services: {main: {image: x, ports: ['80:80']}}", "services.main.ports"),
        ("services: {side: {image: x}}", "no image"),
        ("services: {main: {image: x, command: sleep 1}}", "services.main.command"),
        ("services: {main: {image: x, volumes: ['/etc:/e']}}", "read-only: add :ro"),
        ("services: {main: {image: x, volumes: ['v:/e']}}", "volume 'v' is not declared"),
        ("services: {main: {image: x, networks: [n]}}", "'n' is not declared"),
        ("services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}", "wait for"),
        ("services: {a: {image: x, healthcheck: {test: x, interval: soon}}}", "is no time"),
        ("services: {a: {image: x, networks: net}}", "services.a.networks: 'net' is no list"),
        ("services: {a: {image: x, depends_on: 5}}", "services.a.depends_on: 5 is no list"),
        ("services: {a: {image: x, healthcheck: {test: [CMD]}}}", "must be a text or"),
        ("volumes: {v: {driver: x}}", "volumes.v.driver: is not supported"),
        ("secrets: {}", "docker_compose_yaml.secrets"),
        ("- a", "must be a mapping"),
        ("{", "is no YAML"),
    ],
)
def test_what_is_not_supported_of_compose_is_named(yaml: str, problem: str) -> None:
    task = ComputerConfiguration(docker_compose_yaml=yaml)
    with pytest.raises(ConfigError, match=problem):
        asyncio.run(ContainerRuntime().check_tasks([task]))
