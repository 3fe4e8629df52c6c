"""`ContainerRuntime`: machines that are containers of Docker or Podman, over the Docker API."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import logging
import random
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import chz
from nanoeval_core import ConfigError, RolloutSystemError
from nanoeval_core.errors import RecorderError
from nanoeval_core.recorder import get_recorder
from nanoeval_core.run_context import get_run_context

from nanoeval_computer._compose import MAIN, Service
from nanoeval_computer._engine import (
    UNREACHABLE,
    ExecProcess,
    PullPolicy,
    connect,
    engine_errors,
    find_engine,
    prepare_image,
    turn_to_start,
)
from nanoeval_computer._owner import reaper_for
from nanoeval_computer._plan import Plan, plan_of
from nanoeval_computer._reaper import HOST, KEPT, OWNER, owner_of_this_process, this_host
from nanoeval_computer._shell import KILL, Process
from nanoeval_computer.code_execution_interface import (
    ComputerConfiguration,
    NetworkMode,
)
from nanoeval_computer.machine import Machine
from nanoeval_computer.runtime import MachineRuntime

if TYPE_CHECKING:
    import aiodocker

__all__ = [
    "ContainerMachine",
    "ContainerRuntime",
]

log = logging.getLogger("nanoeval.computer")

_SUBNETS = ipaddress.ip_network("10.128.0.0/9")
_SUBNET_BITS = 27  # 29 containers
_SUBNET_TRIES = 20


class ContainerMachine(Machine):
    """A container, and the containers at its side."""

    def __init__(self, rollout: _Rollout, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self._rollout = rollout

    async def _spawn(self, argv: Sequence[str]) -> Process:
        import aiodocker  # noqa: PLC0415
        import aiohttp  # noqa: PLC0415

        docker = self._rollout.docker
        try:
            return await ExecProcess.start(docker, self.name, [*argv], self._environment)
        except aiodocker.DockerError as error:
            if why := await self._why_over():
                raise self._lost(why) from error
            # It runs: another try may go well.
            unreachable = error.status == UNREACHABLE
            raise (ConnectionError if unreachable else OSError)(str(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionError(str(error)) from error

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
        import aiodocker  # noqa: PLC0415

        with engine_errors(f"asking for the state of {self.name}"):
            try:
                shown = await self._rollout.docker.containers.container(self.name).show()
            except aiodocker.DockerError as error:
                if error.status != 404:
                    raise
                raise RolloutSystemError(
                    f"container {self.name} was removed from outside"
                ) from error
        state = shown["State"]
        if state["Running"]:
            return None
        memory = ", out of memory" if state.get("OOMKilled") else ""
        return f"its first process has ended with code {state.get('ExitCode')}{memory}"

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
        return f"{self._rollout.command} exec -it {self.name} bash"


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
        plans = [plan_of(task, self.image) for task in tasks]
        machines = {plan.main.image for plan in plans}
        sides = {service.image for plan in plans for service in plan.sides}
        try:
            async with connect(find_engine(self.engine), self._about) as docker:
                with engine_errors("looking at images"):
                    architecture = (await docker.version()).get("Arch", "")
                    for name in sorted(machines | sides):
                        await self._image(docker, name, architecture)
                    for name in sorted(machines):
                        await self._check_bash(docker, name)
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

    async def _check_bash(self, docker: aiodocker.Docker, image: str) -> None:
        import aiodocker  # noqa: PLC0415

        not_kept = chz.replace(self, keep_machines=False)
        async with _Rollout(docker, not_kept, "image-check", "") as rollout:
            try:
                await rollout.start(
                    "main", {"Image": image, "Entrypoint": ["bash", "-c", ":"], "Cmd": []}
                )
            except aiodocker.DockerError as error:
                raise ConfigError(
                    f"image {image!r} cannot be used: bash cannot be started in it: {error.message}"
                ) from error

    @contextlib.asynccontextmanager
    async def _start_machine(self, task: ComputerConfiguration) -> AsyncIterator[Machine]:
        plan = plan_of(task, self.image)
        async with connect(find_engine(self.engine), self._about) as docker:
            name = getattr(task, "name", type(task).__name__)
            with engine_errors("looking at images"):
                images = {
                    service.image: await self._image(docker, service.image)
                    for service in (*plan.sides, plan.main)
                }
            command = "podman" if "Libpod" in self._about.get("Server", "") else "docker"
            async with _Rollout(docker, self, name, command) as rollout:
                async with turn_to_start(self.max_starting):
                    with engine_errors(f"starting the machine of task {name!r}"):
                        machine = await rollout.start_all(plan)
                _record_machine(machine.name, plan, images, rollout)
                try:
                    if plan.network_mode is NetworkMode.NONE:
                        await machine.check_offline()
                    yield machine
                finally:
                    if self.keep_machines:
                        log.warning("machine kept; enter it with: %s", machine.attach_command)
                    await machine.close()


class _Rollout:
    """The containers, networks and volumes of one machine, removed together at the exit.

    Each name is told to the reaper before the engine is asked for it, and its labels say whose it
    is: whatever ends this process, somebody knows what to remove.
    """

    def __init__(
        self, docker: aiodocker.Docker, runtime: ContainerRuntime, task: str, command: str
    ) -> None:
        self.docker = docker
        self.containers: list[str] = []
        self.command = command
        self.applied: dict[str, Any] = {}
        self._runtime = runtime
        self._name = f"nanoeval-{secrets.token_hex(6)}"
        self._reaper = reaper_for(find_engine(runtime.engine))
        self._stack = contextlib.AsyncExitStack()
        self._internal: set[str] = set()
        context = get_run_context()
        self._labels = {
            HOST: this_host(),
            OWNER: KEPT if runtime.keep_machines else owner_of_this_process(),
            "nanoeval.task": task,
            "nanoeval.run_set": context.run_set_id if context else "",
            "nanoeval.executor": context.executor if context else "",
        }

    async def __aenter__(self) -> _Rollout:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Remove everything. What cannot be removed is left to the reaper, with a warning."""
        if not self._runtime.keep_machines:
            await self._stack.aclose()
        self.containers.clear()

    async def _add(
        self, kind: str, name: str, create: Callable[[], Awaitable[Any]], remove: Any
    ) -> Any:
        """Create something that is removed with the rollout, or by the reaper."""
        if not self._runtime.keep_machines:
            self._reaper.watch(kind, name)

        async def end() -> None:
            removal = asyncio.ensure_future(self._removed(remove, name))
            try:
                await asyncio.shield(removal)
            except asyncio.CancelledError:
                await asyncio.wait([removal])  # the engine is still connected; then it ends
                raise
            except RolloutSystemError as error:
                log.warning("%s %s is left to be removed later: %s", kind, name, error)
            finally:
                if removal.done() and not removal.cancelled() and removal.exception() is None:
                    self._reaper.forget(name)

        self._stack.push_async_callback(end)
        return await create()

    async def _removed(self, remove: Callable[[], Awaitable[Any]], name: str) -> None:
        import aiodocker  # noqa: PLC0415

        with engine_errors(f"removing {name}"):
            try:
                await remove()
            except aiodocker.DockerError as error:
                in_progress = error.status == 409 and "in progress" in error.message
                if error.status != 404 and not in_progress:
                    raise

    async def start_all(self, plan: Plan) -> ContainerMachine:
        """Start the side containers, each after those it waits for, and then the machine."""
        everyone = [*plan.sides, plan.main]
        networks = await self._networks(everyone) if plan.sides else {}
        volumes = {v for s in everyone for v in s.volumes.values() if not v.startswith("/")}
        for volume in sorted(volumes):
            await self._add_volume(f"{self._name}-{volume}")
        running: dict[str, Service] = {}
        for service in everyone:
            for other, condition in service.depends_on.items():
                await self._reached(running[other], condition)
            await self._start_service(service, plan, networks)
            running[service.name] = service
        return ContainerMachine(
            self,
            f"{self._name}-{MAIN}",
            cwd=plan.cwd,
            environment=plan.main.environment,
            masked=plan.masked,
            command_timeout=self._runtime.command_timeout,
            max_output=self._runtime.max_output,
        )

    async def _networks(self, services: list[Service]) -> dict[str, dict[str, str]]:
        """Create the networks of a rollout: network → service → its address in it."""
        addresses = {}
        for network in sorted({network for s in services for network in s.networks}):
            members = [service.name for service in services if network in service.networks]
            hosts = await self._add_network(f"{self._name}-{network}")
            addresses[network] = dict(zip(members, hosts, strict=False))
        return addresses

    async def _add_network(self, name: str) -> list[str]:
        """Create an internal network with a range of its own, and return its free addresses."""
        import aiodocker  # noqa: PLC0415

        places = 2 ** (_SUBNET_BITS - _SUBNETS.prefixlen)
        size = 2 ** (32 - _SUBNET_BITS)

        async def create() -> list[str]:
            for last in [False] * _SUBNET_TRIES + [True]:
                first = int(_SUBNETS.network_address) + size * random.randrange(places)
                subnet = ipaddress.ip_network((first, _SUBNET_BITS))
                try:
                    await self.docker.networks.create(
                        {
                            "Name": name,
                            "Driver": "bridge",
                            "Internal": True,
                            "Labels": self._labels,
                            "IPAM": {"Config": [{"Subnet": str(subnet)}]},
                        }
                    )
                except aiodocker.DockerError as error:
                    taken = re.search(r"overlap|in use|already used|conflict", error.message)
                    if last or not taken:
                        raise
                    continue
                return [str(host) for host in subnet.hosts()][1:]  # the first is the gateway's
            raise AssertionError("the last try returns or raises")

        async def remove() -> None:
            await aiodocker.networks.DockerNetwork(self.docker, name).delete()

        hosts: list[str] = await self._add("network", name, create, remove)
        self._internal.add(name)
        return hosts

    async def _add_volume(self, name: str) -> None:
        import aiodocker  # noqa: PLC0415

        async def create() -> None:
            await self.docker.volumes.create({"Name": name, "Labels": self._labels})

        async def remove() -> None:
            await aiodocker.volumes.DockerVolume(self.docker, name).delete(force=True)

        await self._add("volume", name, create, remove)

    async def _start_service(
        self, service: Service, plan: Plan, networks: dict[str, dict[str, str]]
    ) -> None:
        is_main = service.name == MAIN
        host: dict[str, Any] = {"Init": True, "PidsLimit": self._runtime.pids_limit}
        config: dict[str, Any] = {"Image": service.image, "HostConfig": host}
        if is_main:
            # Ends by itself in the end, also where nobody is left to remove it.
            config["Entrypoint"] = [
                "bash",
                "-c",
                f"trap 'exit 0' TERM; read -t {self._runtime.lifetime} <> <(:)",
            ]
            config["Cmd"] = []
            host.update(plan.host_config)
            self.applied = dict(host)
        else:
            config["Env"] = [f"{name}={value}" for name, value in service.environment.items()]
            if service.command:
                config["Cmd"] = service.command
        binds = [
            f"{source}:{path}:ro" if source.startswith("/") else f"{self._name}-{source}:{path}"
            for path, source in service.volumes.items()
        ]
        host["Binds"] = [*host.get("Binds", []), *binds]
        is_open = plan.network_mode is NetworkMode.UNPROXIED
        joined = {name: at[service.name] for name, at in networks.items() if service.name in at}
        if joined:
            # Names are in /etc/hosts: no name server is asked, and so none forwards questions.
            known = {
                other: address for network in joined for other, address in networks[network].items()
            }
            host["ExtraHosts"] = [f"{other}:{address}" for other, address in known.items()]
            if not is_open:
                host["Dns"] = ["127.0.0.1"]
        host["NetworkMode"] = "bridge" if is_open else "none"
        if joined and not is_open:
            first = next(iter(joined))
            host["NetworkMode"] = f"{self._name}-{first}"
            config["NetworkingConfig"] = {
                "EndpointsConfig": {
                    f"{self._name}-{first}": _endpoint(service.name, joined.pop(first))
                }
            }
        more = {
            f"{self._name}-{network}": _endpoint(service.name, address)
            for network, address in joined.items()
        }
        await self.start(service.name, config, more)

    async def start(
        self, service: str, config: dict[str, Any], more_networks: dict[str, Any] | None = None
    ) -> None:
        """Create a container and start it."""
        import aiodocker  # noqa: PLC0415

        name = f"{self._name}-{service}"
        container = self.docker.containers.container(name)

        async def create() -> None:
            await self.docker.containers.create({**config, "Labels": self._labels}, name=name)

        async def remove() -> None:
            await container.delete(force=True, v=True)

        await self._add("container", name, create, remove)
        self.containers.append(name)
        for network, endpoint in (more_networks or {}).items():
            await aiodocker.networks.DockerNetwork(self.docker, network).connect(
                {"Container": name, "EndpointConfig": endpoint}
            )
        await container.start()

    async def _reached(self, service: Service, condition: str) -> None:
        """Wait until a service is as another one needs it.

        Raises:
            RolloutSystemError: it ended, or did not get there.
        """
        name = f"{self._name}-{service.name}"
        container = self.docker.containers.container(name)
        if condition == "service_completed_successfully":
            code = (await container.wait())["StatusCode"]
            if code != 0:
                raise RolloutSystemError(f"service {service.name} ended with code {code}")
            return
        check = service.healthcheck
        if condition != "service_healthy" or check is None:
            return
        await asyncio.sleep(check.start_period)
        for _ in range(check.retries):
            process = await ExecProcess.start(self.docker, name, check.test, {})
            try:
                async with asyncio.timeout(check.timeout):
                    while await process.read():
                        pass
                    if await process.wait() == 0:
                        return
            except TimeoutError:
                pass
            finally:
                await process.close()
            await asyncio.sleep(check.interval)
        raise RolloutSystemError(
            f"service {service.name} is not healthy after {check.retries} checks of "
            f"{' '.join(check.test)!r}"
        )

    async def leave_open_networks(self, container: str) -> None:
        """Take a running container out of all networks but those of this rollout."""
        import aiodocker  # noqa: PLC0415

        with engine_errors(f"taking {container} off the internet"):
            shown = await self.docker.containers.container(container).show()
            for network in shown["NetworkSettings"]["Networks"] or {}:
                if network not in self._internal and network != "none":
                    await aiodocker.networks.DockerNetwork(self.docker, network).disconnect(
                        {"Container": container, "Force": True}
                    )


def _endpoint(service: str, address: str) -> dict[str, Any]:
    return {"IPAMConfig": {"IPv4Address": address}, "Aliases": [service]}


def _record_machine(
    name: str, plan: Plan, images: dict[str, dict[str, Any]], rollout: _Rollout
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
        "applied": rollout.applied,
    }
    with contextlib.suppress(RecorderError, LookupError):  # outside of an attempt
        get_recorder().record_extra({"machine": machine})
