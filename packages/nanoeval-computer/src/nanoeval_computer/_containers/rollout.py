"""The containers of one machine on an engine: how they are started, asked and removed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import logging
import random
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiodocker
import aiohttp
from nanoeval_core import ConfigError, RolloutSystemError
from nanoeval_core.run_context import get_run_context

from nanoeval_computer._containers.compose import MAIN, Service
from nanoeval_computer._containers.engine import UNREACHABLE, ExecProcess, engine_errors
from nanoeval_computer._containers.plan import MachinePlan
from nanoeval_computer._inside.shell import Process
from nanoeval_computer._reaper.process import HOST, KEPT, OWNER, owner_of_this_process, this_host
from nanoeval_computer._reaper.watch import reaper_for
from nanoeval_computer.code_execution_interface import NetworkMode

log = logging.getLogger("nanoeval.computer")

_SUBNETS = ipaddress.ip_network("10.128.0.0/9")
_SUBNET_BITS = 27  # 29 containers
_SUBNET_TRIES = 20


class Rollout:
    """The containers, networks and volumes of one machine, removed together at the exit.

    Each name is told to the reaper before the engine is asked for it, and its labels say whose it
    is: whatever ends this process, somebody knows what to remove.
    """

    def __init__(
        self,
        docker: aiodocker.Docker,
        engine_url: str,
        task: str,
        *,
        keep: bool = False,
        pids_limit: int = 0,
        lifetime: float = 0.0,
    ) -> None:
        self.docker = docker
        self.containers: list[str] = []
        self.applied: dict[str, Any] = {}
        self._keep = keep
        self._pids_limit = pids_limit
        self._lifetime = lifetime
        self._name = f"nanoeval-{secrets.token_hex(6)}"
        self._reaper = reaper_for(engine_url)
        self._stack = contextlib.AsyncExitStack()
        self._internal: set[str] = set()
        context = get_run_context()
        self._labels = {
            HOST: this_host(),
            OWNER: KEPT if keep else owner_of_this_process(),
            "nanoeval.task": task,
            "nanoeval.run_set": context.run_set_id if context else "",
            "nanoeval.executor": context.executor if context else "",
        }

    async def __aenter__(self) -> Rollout:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Remove everything. What cannot be removed is left to the reaper, with a warning."""
        if not self._keep:
            await self._stack.aclose()
        self.containers.clear()

    async def _add(
        self, kind: str, name: str, create: Awaitable[Any], remove: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Create something that is removed with the rollout, or by the reaper."""
        if not self._keep:
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
        return await create

    async def _removed(self, remove: Callable[[], Awaitable[Any]], name: str) -> None:
        with engine_errors(f"removing {name}"):
            for tries_left in (2, 1, 0):
                try:
                    await remove()
                except aiodocker.DockerError as error:
                    if error.status == 404 or (
                        error.status == 409 and "in progress" in error.message
                    ):
                        return
                    # Podman cannot kill what ends just then, and says 500.
                    if error.status != 500 or not tries_left:
                        raise
                else:
                    return

    async def start_all(self, plan: MachinePlan) -> str:
        """Start the side containers, each after those it waits for, and last the machine.

        Returns:
            its name.
        """
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
        return f"{self._name}-{MAIN}"

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

        remove = aiodocker.networks.DockerNetwork(self.docker, name).delete
        hosts: list[str] = await self._add("network", name, create(), remove)
        self._internal.add(name)
        return hosts

    async def _add_volume(self, name: str) -> None:
        create = self.docker.volumes.create({"Name": name, "Labels": self._labels})
        remove = aiodocker.volumes.DockerVolume(self.docker, name).delete
        await self._add("volume", name, create, functools.partial(remove, force=True))

    async def _start_service(
        self, service: Service, plan: MachinePlan, networks: dict[str, dict[str, str]]
    ) -> None:
        host: dict[str, Any] = {"Init": True, "PidsLimit": self._pids_limit}
        config: dict[str, Any] = {"Image": service.image, "HostConfig": host}
        if service.name == MAIN:
            # Ends by itself in the end, also where nobody is left to remove it.
            config["Entrypoint"] = [
                "bash",
                "-c",
                f"trap 'exit 0' TERM; read -t {self._lifetime} <> <(:)",
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
        joined = {name: at for name, at in networks.items() if service.name in at}
        if joined:
            # Names are in /etc/hosts: no name server is asked, and so none forwards questions.
            known = {other: address for at in joined.values() for other, address in at.items()}
            host["ExtraHosts"] = [f"{other}:{address}" for other, address in known.items()]
            if not is_open:
                host["Dns"] = ["127.0.0.1"]
        endpoints = {
            f"{self._name}-{network}": {
                "IPAMConfig": {"IPv4Address": at[service.name]},
                "Aliases": [service.name],
            }
            for network, at in joined.items()
        }
        host["NetworkMode"] = "bridge" if is_open else "none"
        if endpoints and not is_open:
            first = host["NetworkMode"] = next(iter(endpoints))
            config["NetworkingConfig"] = {"EndpointsConfig": {first: endpoints.pop(first)}}
        await self._start(service.name, config, endpoints)

    async def _start(self, service: str, config: dict[str, Any], endpoints: dict[str, Any]) -> None:
        name = f"{self._name}-{service}"
        container = self.docker.containers.container(name)
        create = self.docker.containers.create({**config, "Labels": self._labels}, name=name)
        remove = functools.partial(container.delete, force=True, v=True)
        await self._add("container", name, create, remove)
        self.containers.append(name)
        for network, endpoint in endpoints.items():
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

    async def check_bash(self, image: str) -> None:
        """Start `bash` in a container of `image`.

        Raises:
            ConfigError: it does not start.
        """
        config = {"Image": image, "Entrypoint": ["bash", "-c", ":"], "Cmd": []}
        try:
            await self._start(MAIN, config, {})
        except aiodocker.DockerError as error:
            raise ConfigError(
                f"image {image!r} cannot be used: bash cannot be started in it: {error.message}"
            ) from error

    async def execute(
        self, container: str, argv: Sequence[str], environment: dict[str, str]
    ) -> Process:
        """Start a process in a container.

        Raises:
            OSError: it did not start; a ConnectionError where the engine gave no answer.
        """
        try:
            return await ExecProcess.start(self.docker, container, [*argv], environment)
        except aiodocker.DockerError as error:
            unreachable = error.status == UNREACHABLE
            raise (ConnectionError if unreachable else OSError)(str(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionError(str(error)) from error

    async def why_over(self, container: str) -> str | None:
        """Return why a container runs no more, or None while it runs.

        Raises:
            RolloutSystemError: it was removed, or the engine cannot say.
        """
        with engine_errors(f"asking for the state of {container}"):
            try:
                shown = await self.docker.containers.container(container).show()
            except aiodocker.DockerError as error:
                if error.status != 404:
                    raise
                raise RolloutSystemError(
                    f"container {container} was removed from outside"
                ) from error
        state = shown["State"]
        if state["Running"]:
            return None
        memory = ", out of memory" if state.get("OOMKilled") else ""
        return f"its first process has ended with code {state.get('ExitCode')}{memory}"

    async def leave_open_networks(self, container: str) -> None:
        """Take a running container out of all networks but those of this rollout."""
        with engine_errors(f"taking {container} off the internet"):
            shown = await self.docker.containers.container(container).show()
            for network in shown["NetworkSettings"]["Networks"] or {}:
                if network not in self._internal and network != "none":
                    await aiodocker.networks.DockerNetwork(self.docker, network).disconnect(
                        {"Container": container, "Force": True}
                    )
