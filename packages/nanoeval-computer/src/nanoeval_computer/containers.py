"""`ContainerRuntime`: machines that are containers of Docker or Podman, over the Docker API."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

import chz
from nanoeval_core import ConfigError, RolloutSystemError
from nanoeval_core.errors import RecorderError
from nanoeval_core.recorder import get_recorder

from nanoeval_computer._containers.engine import (
    PullPolicy,
    connect,
    engine_errors,
    find_engine,
    prepare_image,
    turn_to_start,
)
from nanoeval_computer._containers.plan import MachinePlan, plan_of
from nanoeval_computer._inside.shell import KILL, Process
from nanoeval_computer.code_execution_interface import ComputerConfiguration, NetworkMode
from nanoeval_computer.machine import Machine
from nanoeval_computer.runtime import MachineRuntime

if TYPE_CHECKING:
    import aiodocker

    from nanoeval_computer._containers.rollout import Rollout

__all__ = ["ContainerMachine", "ContainerRuntime"]

log = logging.getLogger("nanoeval.computer")


class ContainerMachine(Machine):
    """A container, and the containers at its side."""

    def __init__(self, rollout: Rollout, name: str, engine_command: str, **options: Any) -> None:
        super().__init__(name, **options)
        self._rollout = rollout
        self._engine_command = engine_command

    async def _spawn(self, argv: Sequence[str]) -> Process:
        try:
            return await self._rollout.execute(self.name, argv, self._environment)
        except OSError as error:
            if not isinstance(error, ConnectionError) and (why := await self._why_over()):
                raise self._lost(why) from error
            raise  # it runs: another try may go well

    async def _kill(self, cookie: str) -> bool:
        try:
            process = await self._spawn(["bash", "-c", f'{KILL} nanoeval_kill "$1"', "-", cookie])
        except OSError:
            return False
        try:
            while await process.read():
                pass
            return await process.wait() == 0
        finally:
            await process.close()

    async def _why_over(self) -> str | None:
        return await self._rollout.why_over(self.name)

    async def disable_internet(self) -> None:
        """Leave every network that has a way out, and verify that nothing outside answers."""
        await self._rollout.leave_open_networks(self.name)
        await self.check_offline()

    async def fetch_container_names(self) -> list[str]:
        return list(self._rollout.containers)

    async def stop(self) -> None:
        await self.close()
        await self._rollout.stop()

    @property
    def attach_command(self) -> str:
        return f"{self._engine_command} exec -it {self.name} bash"


@chz.chz
class ContainerRuntime(MachineRuntime):
    """Runs each task in a container of its own, with Docker or Podman."""

    engine: str | None = chz.field(
        default=None, doc="The engine's URL; by default $DOCKER_HOST, else a socket that is there."
    )
    image: str | None = chz.field(
        default=None, doc="The image for tasks that name none in docker_image."
    )
    pull: PullPolicy = chz.field(
        default="missing", doc="When images are pulled: missing, never or always."
    )
    max_starting: int = chz.field(
        default=8, doc="Machines that all processes of this host start at the same time."
    )
    pids_limit: int = chz.field(default=1024, doc="Processes and threads of a machine.")
    lifetime: float = chz.field(
        default=86400.0, doc="Seconds after which a machine ends by itself, whatever happens."
    )

    @chz.validate
    def _check_fields(self) -> None:
        for name in ("max_starting", "pids_limit", "lifetime"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{type(self).__name__}.{name}: give more than 0")
        if self.pull not in ("missing", "never", "always"):
            raise ConfigError(
                f"{type(self).__name__}.pull={self.pull!r}: give missing, never or always"
            )

    async def check_tasks(self, tasks: Sequence[ComputerConfiguration]) -> None:
        """Look at what the tasks ask for and at their images, before anything runs."""
        from nanoeval_computer._containers.rollout import Rollout  # noqa: PLC0415  it loads aiodocker

        plans = [plan_of(task, self.image) for task in tasks]
        machines = {plan.main.image for plan in plans}
        sides = {service.image for plan in plans for service in plan.sides}
        try:
            url = find_engine(self.engine)
            if url.startswith("unix:"):  # on this host, where it would make what is missing
                for task, plan in zip(tasks, plans, strict=True):
                    _check_host_paths(task, plan)
            async with connect(url, self._about) as docker:
                with engine_errors("looking at images"):
                    architecture = (await docker.version()).get("Arch", "")
                    for name in sorted(machines | sides):
                        await self._image(docker, name, architecture)
                    for name in sorted(machines):
                        async with Rollout(docker, url, "image-check") as rollout:
                            await rollout.check_bash(name)
        except RolloutSystemError as error:
            raise ConfigError(f"{error}. Does the engine run?") from error

    @functools.cached_property
    def _about(self) -> dict[str, str]:
        """What the engine says of itself."""
        return {}

    @functools.cached_property
    def _images(self) -> dict[str, dict[str, Any]]:
        """What is known of images. Copies of this runtime take it along."""
        return {}

    async def _image(
        self, docker: aiodocker.Docker, name: str, architecture: str = ""
    ) -> dict[str, Any]:
        if name not in self._images:
            self._images[name] = await prepare_image(docker, name, self.pull, architecture)
        return self._images[name]

    @contextlib.asynccontextmanager
    async def _start_machine(self, task: ComputerConfiguration) -> AsyncIterator[Machine]:
        from nanoeval_computer._containers.rollout import Rollout  # noqa: PLC0415  it loads aiodocker

        plan = plan_of(task, self.image)
        url = find_engine(self.engine)
        async with connect(url, self._about) as docker:
            name = getattr(task, "name", type(task).__name__)
            with engine_errors("looking at images"):
                images = {
                    service.image: await self._image(docker, service.image)
                    for service in (*plan.sides, plan.main)
                }
            async with Rollout(
                docker,
                url,
                name,
                keep=self.keep_machines,
                pids_limit=self.pids_limit,
                lifetime=self.lifetime,
            ) as rollout:
                async with turn_to_start(self.max_starting):
                    with engine_errors(f"starting the machine of task {name!r}"):
                        container = await rollout.start_all(plan)
                machine = ContainerMachine(
                    rollout,
                    container,
                    "podman" if "Libpod" in self._about.get("Server", "") else "docker",
                    cwd=plan.cwd,
                    environment=plan.main.environment,
                    masked=plan.masked,
                    command_timeout=self.command_timeout,
                    max_output=self.max_output,
                )
                _record_machine(container, plan, images, rollout.applied)
                try:
                    if plan.network_mode is NetworkMode.NONE:
                        await machine.check_offline()
                    yield machine
                finally:
                    if self.keep_machines:
                        log.warning("machine kept; enter it with: %s", machine.attach_command)
                    await machine.close()


def _check_host_paths(task: ComputerConfiguration, plan: MachinePlan) -> None:
    paths = [mount.host_path for mount in task.volume_mounts]
    for service in (*plan.sides, plan.main):
        paths += [source for source in service.volumes.values() if source.startswith("/")]
    for path in paths:
        if not os.path.exists(path):
            name = getattr(task, "name", type(task).__name__)
            raise ConfigError(f"task {name!r}: {path} is to be mounted and does not exist here")


def _record_machine(
    name: str, plan: MachinePlan, images: dict[str, dict[str, Any]], applied: dict[str, Any]
) -> None:
    """Record what was started: images by their digests, the limits that are in force."""
    digests = {
        image: next(iter(shown.get("RepoDigests") or []), shown.get("Id"))
        for image, shown in images.items()
    }
    machine = {
        "name": name,
        "image": plan.main.image,
        "digests": digests,
        "side_containers": [service.name for service in plan.sides],
        "network_mode": plan.network_mode.value,
        "applied": applied,
    }
    with contextlib.suppress(RecorderError, LookupError):  # outside of an attempt
        get_recorder().record_extra({"machine": machine})
