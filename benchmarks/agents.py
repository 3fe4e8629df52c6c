"""What machines and agents cost, next to bare loops that do the same: ratios, in turn.

python benchmarks/agents.py                       all of it; containers need an engine
python benchmarks/agents.py --small               fewer machines and rollouts
python benchmarks/agents.py --image python:3.12   the image of the containers, which must have bash
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiodocker
import chz
from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.errors import ConfigError
from nanoeval.recorder import dummy_recorder
from nanoeval.solvers.computer_tasks.code_execution_interface import (
    ComputerConfiguration,
    ComputerInterface,
)
from nanoeval.solvers.computer_tasks.containers import ContainerRuntime
from nanoeval.solvers.computer_tasks.local import LocalRuntime
from nanoeval.solvers.computer_tasks.maintenance import describe_engine
from nanoeval.solvers.computer_tasks.mock_agent import MockAgentSolver
from nanoeval.solvers.computer_tasks.solver import PythonCodingEval
from nanoeval.solvers.computer_tasks.task import ComputerTask, Grade

ROUNDS = 3
STEPS = 20
BYTES = b"x" * 10_000
MONITORS = ("conmon", "containerd-shim")  # a name has 15 bytes
KEEP = ["bash", "-c", "read -t 3600 <> <(:)"]


async def at_once(work: Callable[[], Awaitable[Any]], times: int, concurrency: int) -> float:
    """Seconds that `times` calls of `work` take, `concurrency` of them at once."""
    slots = asyncio.Semaphore(concurrency)

    async def one() -> None:
        async with slots:
            await work()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(times):
            group.create_task(one())
    return time.perf_counter() - started


async def bare_exec(container: Any, command: str) -> None:
    execution = await container.exec(["bash", "-c", command], stdout=True, stderr=True)
    async with execution.start(detach=False) as stream:
        while await stream.read_out() is not None:
            pass
    await execution.inspect()


class Bare:
    """A container as one writes it down with aiodocker."""

    def __init__(self, docker: aiodocker.Docker, image: str) -> None:
        self.docker, self.image = docker, image

    async def __aenter__(self) -> Any:
        host = {"Init": True, "NetworkMode": "none"}
        self.container = await self.docker.containers.create(
            {"Image": self.image, "Entrypoint": KEEP, "Cmd": [], "HostConfig": host}
        )
        await self.container.start()
        return self.container

    async def __aexit__(self, *exc: object) -> None:
        await self.container.delete(force=True, v=True)


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.size = len(BYTES)
        tar.addfile(info, io.BytesIO(BYTES))
    return buffer.getvalue()


async def overhead(image: str, url: str, machines: int) -> None:
    runtime = ContainerRuntime()
    await runtime.check_tasks([ComputerConfiguration(docker_image=image)])  # as a run does
    async with aiodocker.Docker(url=url) as docker:

        async def bare() -> None:
            async with Bare(docker, image) as container:
                await bare_exec(container, "true")
                await container.put_archive("/root", archive())
                await container.get_archive("/root/file")

        async def ours() -> None:
            async with runtime.run(ComputerConfiguration(docker_image=image)) as machine:
                await machine.check_shell_command("true")
                await machine.upload(BYTES, "/root/file")
                await machine.download("/root/file")

        pairs = [
            (await at_once(bare, machines, 20), await at_once(ours, machines, 20))
            for _ in range(ROUNDS)
        ]
    show("a machine with one command and a file, 20 at once", pairs, f"of {machines} machines")


def engine_processes(containers: set[bytes]) -> int:
    """Processes that the engine keeps for containers: monitors of them and of execs.

    Their command lines name the container, so that other engines on this host do not count.
    """
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_monitor = process.joinpath("comm").read_text().strip() in MONITORS
            words = process.joinpath("cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        count += is_monitor and not containers.isdisjoint(words)
    return count


async def commands(image: str, url: str, machines: int) -> None:
    runtime = ContainerRuntime()
    await runtime.check_tasks([ComputerConfiguration(docker_image=image)])
    async with aiodocker.Docker(url=url) as docker:
        ready = asyncio.Barrier(machines)
        processes = 0
        spent: list[float] = []

        async def timed(send: Callable[[], Awaitable[Any]]) -> None:
            await ready.wait()  # all machines are up
            started = time.perf_counter()
            for _ in range(STEPS):
                await send()
            spent.append(time.perf_counter() - started)
            await ready.wait()

        async def ours() -> None:
            async with runtime.run(ComputerConfiguration(docker_image=image)) as machine:
                nonlocal processes
                await timed(lambda: machine.send_shell_command("true"))
                listed = await docker.containers.list(filters={"label": ["nanoeval.host"]})
                ids = {container.id.encode() for container in listed}
                processes = max(processes, engine_processes(ids))
                await ready.wait()

        async def bare() -> None:
            async with Bare(docker, image) as container:
                await timed(lambda: bare_exec(container, "true"))

        await at_once(ours, machines, machines)
        our_time = max(spent)
        spent.clear()
        await at_once(bare, machines, machines)
        bare_time = max(spent)
    print(f"{machines} machines × {STEPS} commands")
    print(f"  processes of the engine: {processes}, {processes / machines:.1f} a machine")
    print(f"  ours {machines * STEPS / our_time:9.0f} commands/s")
    print(f"  bare {machines * STEPS / bare_time:9.0f} execs/s")
    print(f"  ratio {bare_time / our_time:.2f} (more is better)")


class Nothing(ComputerTask):
    async def _setup(self, computer: ComputerInterface, runtime_config: Any) -> None:
        pass

    async def grade(self, computer: ComputerInterface, runtime_config: Any) -> Grade:
        return Grade(score=1.0, grader_log="")


@chz.chz
class Rollouts(PythonCodingEval):
    rollouts: int

    def get_name(self) -> str:
        return "rollouts"

    async def get_instances(self) -> list[ComputerTask]:
        prompt = [{"role": "user", "content": "do it"}]
        return [Nothing(question_id=f"r{n}", prompt=prompt) for n in range(self.rollouts)]


async def rollouts(number: int) -> None:
    async def bare() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(STEPS):
                process = await asyncio.create_subprocess_exec(
                    "bash", "-c", "echo step", cwd=folder, stdout=asyncio.subprocess.PIPE
                )
                await process.communicate()

    script: Any = [[("bash", {"command": "echo step"})]] * (STEPS - 1)
    solver = MockAgentSolver(runtime=LocalRuntime(), scripts={"*": script})
    runner = RunnerArgs(concurrency=50, recorder=dummy_recorder(), enable_slackbot=False)
    pairs = []
    for _ in range(ROUNDS):
        bare_time = await at_once(bare, number, 50)
        started = time.perf_counter()
        await run(EvalSpec(eval=Rollouts(solver=solver, rollouts=number), runner=runner))
        pairs.append((bare_time, time.perf_counter() - started))
    show(f"{number} local rollouts of {STEPS} steps, 50 at once", pairs, "in all")


def show(what: str, pairs: list[tuple[float, float]], unit: str) -> None:
    bare, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(our / other for other, our in pairs)
    print(what)
    print(f"  bare {bare:8.2f} s {unit}")
    print(f"  ours {ours:8.2f} s {unit}")
    print(f"  ratio {ratio:.2f} (less is better), {1 / ratio:.0%} of the bare loop's speed")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--image", default="python:3.12-slim")
    arguments = parser.parse_args()
    engine = describe_engine()
    try:
        if not engine.name:
            raise ConfigError(engine.problems[0])
        task = ComputerConfiguration(docker_image=arguments.image)
        await ContainerRuntime().check_tasks([task])
    except ConfigError as error:
        print(f"Containers are left out: {error}")
    else:
        print(f"{engine.name} at {engine.url}, {os.cpu_count()} processors")
        await overhead(arguments.image, engine.url, 20 if arguments.small else 60)
        await commands(arguments.image, engine.url, 10 if arguments.small else 50)
    await rollouts(50 if arguments.small else 200)


if __name__ == "__main__":
    asyncio.run(main())
