"""What a task asks a container engine for: images, limits, mounts, environment. Nobody is asked."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from nanoeval_core import ConfigError

from nanoeval_computer._containers.compose import MAIN, Service, read_compose
from nanoeval_computer.code_execution_interface import (
    ComputerConfiguration,
    ContainerResources,
    NetworkMode,
)
from nanoeval_computer.machine import resolve_environment

_MEGABYTE = 1024 * 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class MachinePlan:
    """What a task asks for, in the engine's terms.

    Attributes:
        main: the machine itself.
        sides: in the order of their start.
        host_config: limits and mounts of the machine, as far as the task sets them.
    """

    main: Service
    sides: list[Service]
    network_mode: NetworkMode
    host_config: dict[str, Any]
    cwd: str
    masked: dict[str, str]


def plan_of(task: ComputerConfiguration, default_image: str | None) -> MachinePlan:
    """Return what has to be started for `task`.

    Args:
        default_image: for a task that names none.

    Raises:
        ConfigError: it asks for something that cannot be done; the message names the field.
    """
    where = f"task {getattr(task, 'name', type(task).__name__)!r}"
    if task.network_mode not in (NetworkMode.NONE, NetworkMode.UNPROXIED):
        raise ConfigError(
            f"{where}: network_mode={task.network_mode.value!r} cannot be kept by a "
            "ContainerRuntime: use none or unproxied"
        )
    for field in ("azure_vm_sku", "azure_files_config", "azure_container_config"):
        if getattr(task, field) is not None:
            raise ConfigError(f"{where}: {field} is not for a ContainerRuntime")
    services = read_compose(task.docker_compose_yaml) if task.docker_compose_yaml else []
    given = next((service for service in services if service.name == MAIN), None)
    image = task.docker_image or (given.image if given else None) or default_image
    if image is None:
        raise ConfigError(
            f"{where}: no image: set docker_image, a service {MAIN!r} in docker_compose_yaml, or "
            "the runtime's field image"
        )
    if given and (given.command or given.healthcheck):
        field = "command" if given.command else "healthcheck"
        raise ConfigError(f"{where}: services.{MAIN}.{field}: the machine itself has none")
    values, masked = resolve_environment(task.environment)
    base = given or Service(name=MAIN, image=image)
    sides = [service for service in services if service.name != MAIN]
    sides += [
        Service(name=f"side{number}", image=name) for number, name in enumerate(task.side_images)
    ]
    if len(sides) > 25:
        raise ConfigError(f"{where}: {len(sides)} side containers are more than 25")
    return MachinePlan(
        main=base.model_copy(
            update={"image": image, "environment": {**base.environment, **values}}
        ),
        sides=sides,
        network_mode=task.network_mode,
        host_config=_limits(task, where),
        cwd=task.cwd,
        masked=masked,
    )


def _limits(task: ComputerConfiguration, where: str) -> dict[str, Any]:
    """Return the limits that the task sets itself: the published defaults limit nothing."""
    config: dict[str, Any] = {}

    def set_by_task(field: str) -> dict[str, Any]:
        resources: ContainerResources = getattr(task, field)
        is_set = field in task.model_fields_set
        return resources.model_dump(include=resources.model_fields_set) if is_set else {}

    wanted = {**set_by_task("resources"), **set_by_task("limits")}
    if "cpu" in wanted:
        config["NanoCpus"] = int(wanted["cpu"] * 1e9)
    memory = _bytes(task.mem_limit, f"{where}: mem_limit") if task.mem_limit else None
    if memory is None and "memory" in wanted:
        memory = wanted["memory"] * _MEGABYTE
    if memory is not None:
        config["Memory"] = config["MemorySwap"] = memory  # no swap beyond it
    if task.shm_size:
        config["ShmSize"] = _bytes(task.shm_size, f"{where}: shm_size")
    if task.num_gpus:
        config["DeviceRequests"] = [{"Count": task.num_gpus, "Capabilities": [["gpu"]]}]
    if task.volume_mounts:
        config["Binds"] = [f"{m.host_path}:{m.container_path}:ro" for m in task.volume_mounts]
    return config


def _bytes(text: str, where: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", text.strip().lower())
    if match is None:
        raise ConfigError(f"{where}={text!r} is no size, such as 512m or 2g")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2] or " "))
