"""The part of compose files that rollouts need. Any other field is refused by name."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping
from typing import Any

from nanoeval_core import ConfigError

MAIN = "main"
"""The service that is the task's machine, where the task names no `docker_image`."""

_FIELDS = {
    "image",
    "command",
    "environment",
    "depends_on",
    "healthcheck",
    "networks",
    "volumes",
}
_CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Healthcheck:
    """A command that exits with 0 in a service that is ready."""

    test: list[str]
    interval: float = 1.0
    timeout: float = 30.0
    retries: int = 60
    start_period: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Service:
    """A container of a rollout.

    Attributes:
        depends_on: service → what it must have reached before this one starts.
        volumes: path in the container → volume of the rollout, or a path of the host (read-only).
    """

    name: str
    image: str
    command: list[str] | None = None
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    depends_on: dict[str, str] = dataclasses.field(default_factory=dict)
    healthcheck: Healthcheck | None = None
    networks: tuple[str, ...] = ("default",)
    volumes: dict[str, str] = dataclasses.field(default_factory=dict)


def read_compose(text: str) -> list[Service]:
    """Return the services of a compose file, each after those that it depends on.

    Raises:
        ConfigError: the file is not a compose file, or asks for something that is not supported.
    """
    import yaml  # noqa: PLC0415  only tasks that have one need it

    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"docker_compose_yaml is no YAML: {error}") from error
    _only(data, {"services", "networks", "volumes", "version", "name"}, "docker_compose_yaml")
    networks, volumes = set(data.get("networks") or {}), set(data.get("volumes") or {})
    for kind in ("networks", "volumes"):
        for name, options in (data.get(kind) or {}).items():
            _only(options or {}, {"internal"} if kind == "networks" else set(), f"{kind}.{name}")
    services = {
        name: _service(name, given, networks | {"default"}, volumes)
        for name, given in (data.get("services") or {}).items()
    }
    ordered: list[Service] = []
    while services:
        done = {service.name for service in ordered}
        ready = [name for name, s in services.items() if set(s.depends_on) <= done]
        if not ready:
            raise ConfigError(
                f"docker_compose_yaml: services {', '.join(services)} wait for each other, or for "
                "one that there is not"
            )
        ordered += [services.pop(name) for name in ready]
    return ordered


def _service(name: str, given: Any, networks: set[str], volumes: set[str]) -> Service:
    where = f"services.{name}"
    _only(given, _FIELDS, where)
    if not isinstance(given.get("image"), str):
        raise ConfigError(f"docker_compose_yaml: {where}.image is missing: images are not built")
    joined = tuple(_names(given.get("networks") or ["default"], f"{where}.networks"))
    if unknown := [network for network in joined if network not in networks]:
        raise ConfigError(f"docker_compose_yaml: {where}.networks: {unknown[0]!r} is not declared")
    command = given.get("command")
    return Service(
        name=name,
        image=given["image"],
        command=shlex.split(command) if isinstance(command, str) else command,
        environment=_environment(given.get("environment") or {}, where),
        depends_on=_dependencies(given.get("depends_on") or {}, where),
        healthcheck=_healthcheck(given.get("healthcheck"), f"{where}.healthcheck"),
        networks=joined,
        volumes=dict(
            _volume(volume, volumes, f"{where}.volumes") for volume in given.get("volumes") or []
        ),
    )


def _only(given: Any, known: set[str], where: str) -> None:
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where} must be a mapping, not {given!r}")
    for field in given:
        if field not in known:
            raise ConfigError(
                f"docker_compose_yaml: {where}.{field} is not supported; what is: "
                f"{', '.join(sorted(known)) or 'nothing'}"
            )


def _names(given: Any, where: str) -> list[str]:
    names = list(given) if isinstance(given, list | Mapping) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"docker_compose_yaml: {where} must be a list of names, not {given!r}")
    if isinstance(given, Mapping) and any(given.values()):
        raise ConfigError(f"docker_compose_yaml: {where}: options of a network are not supported")
    return names


def _environment(given: Any, where: str) -> dict[str, str]:
    if isinstance(given, list):
        given = dict(str(entry).partition("=")[::2] for entry in given)
    if not isinstance(given, Mapping):
        raise ConfigError(f"docker_compose_yaml: {where}.environment must be a mapping or a list")
    return {str(name): "" if value is None else str(value) for name, value in given.items()}


def _dependencies(given: Any, where: str) -> dict[str, str]:
    if isinstance(given, list):
        return dict.fromkeys(given, "service_started")
    conditions = {}
    for name, options in given.items():
        _only(options or {}, {"condition"}, f"{where}.depends_on.{name}")
        conditions[name] = (options or {}).get("condition", "service_started")
        if conditions[name] not in _CONDITIONS:
            raise ConfigError(
                f"docker_compose_yaml: {where}.depends_on.{name}.condition: "
                f"{conditions[name]!r} is none of {', '.join(_CONDITIONS)}"
            )
    return conditions


def _healthcheck(given: Any, where: str) -> Healthcheck | None:
    if given is None:
        return None
    _only(given, {"test", "interval", "timeout", "retries", "start_period"}, where)
    test = given.get("test")
    if isinstance(test, str):
        test = ["CMD-SHELL", test]
    if not isinstance(test, list) or not test or test[0] not in ("CMD", "CMD-SHELL"):
        raise ConfigError(f"docker_compose_yaml: {where}.test must be a text or [CMD, …]")
    argv = test[1:] if test[0] == "CMD" else ["sh", "-c", test[1]]
    times = {
        name: _seconds(given[name], f"{where}.{name}")
        for name in ("interval", "timeout", "start_period")
        if name in given
    }
    return Healthcheck(test=argv, retries=int(given.get("retries", 60)), **times)


def _seconds(given: Any, where: str) -> float:
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", str(given))
    if "".join(number + unit for number, unit in parts) != str(given):
        raise ConfigError(f"docker_compose_yaml: {where}={given!r} is no time, such as 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _volume(given: Any, volumes: set[str], where: str) -> tuple[str, str]:
    source, _, rest = str(given).partition(":")
    path, _, mode = rest.partition(":")
    if not path.startswith("/") or mode not in ("", "ro", "rw"):
        raise ConfigError(f"docker_compose_yaml: {where}: {given!r} is not name:/path")
    if source.startswith("/"):
        if mode != "ro":
            raise ConfigError(
                f"docker_compose_yaml: {where}: {given!r}: paths of the host are read-only: add :ro"
            )
    elif source not in volumes:
        raise ConfigError(f"docker_compose_yaml: {where}: volume {source!r} is not declared")
    return path, source
