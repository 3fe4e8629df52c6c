"""The part of compose files that rollouts need. Any other field is refused by name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from nanoeval_core import ConfigError
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

MAIN = "main"
"""The service that is the task's machine, where the task names no `docker_image`."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _listed(given: Any) -> Any:
    """Return a list or a mapping, which may be left empty."""
    if not isinstance(given or [], list | Mapping):
        raise ValueError(f"{given!r} is no list and no mapping")  # noqa: TRY004  pydantic's word
    return given or []


def _seconds(given: Any) -> float:
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", str(given))
    if "".join(number + unit for number, unit in parts) != str(given):
        raise ValueError(f"{given!r} is no time, such as 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _test(given: Any) -> Any:
    if isinstance(given, str):
        return ["sh", "-c", given]
    if not isinstance(given, list) or len(given) < 2 or given[0] not in ("CMD", "CMD-SHELL"):
        raise ValueError("it must be a text or [CMD, …]")
    return given[1:] if given[0] == "CMD" else ["sh", "-c", given[1]]


def _environment(given: Any) -> Any:
    given = _listed(given)
    if isinstance(given, list):
        given = dict(str(entry).partition("=")[::2] for entry in given)
    return {str(name): "" if value is None else str(value) for name, value in given.items()}


def _conditions(given: Any) -> Any:
    if isinstance(given := _listed(given), list):
        return dict.fromkeys(map(str, given), "service_started")
    if not all(
        isinstance(one or {}, Mapping) and set(one or ()) <= {"condition"} for one in given.values()
    ):
        raise ValueError("of each service, only its `condition` is supported")
    return {name: (one or {}).get("condition", "service_started") for name, one in given.items()}


def _networks(given: Any) -> Any:
    if isinstance(given, Mapping) and any(given.values()):
        raise ValueError("options of a network are not supported")
    return list(_listed(given) or ["default"])


def _volumes(given: Any) -> dict[str, str]:
    volumes = {}
    for volume in _listed(given):
        source, _, rest = str(volume).partition(":")
        path, _, mode = rest.partition(":")
        if not path.startswith("/") or mode not in ("", "ro", "rw"):
            raise ValueError(f"{volume!r} is not name:/path")
        if source.startswith("/") and mode != "ro":
            raise ValueError(f"{volume!r}: paths of the host are read-only: add :ro")
        volumes[path] = source
    return volumes


_Seconds = Annotated[float, BeforeValidator(_seconds)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)


class Healthcheck(_Strict):
    """A command that exits with 0 in a service that is ready."""

    test: Annotated[list[str], BeforeValidator(_test)]
    interval: _Seconds = 1.0
    timeout: _Seconds = 30.0
    retries: int = 60
    start_period: _Seconds = 0.0


class _Given(_Strict):
    image: str
    command: Annotated[
        list[str] | None, BeforeValidator(lambda c: shlex.split(c) if isinstance(c, str) else c)
    ] = None
    environment: Annotated[dict[str, str], BeforeValidator(_environment)] = {}
    depends_on: Annotated[
        dict[str, Literal["service_started", "service_healthy", "service_completed_successfully"]],
        BeforeValidator(_conditions),
    ] = {}
    healthcheck: Healthcheck | None = None
    networks: Annotated[list[str], BeforeValidator(_networks)] = ["default"]
    volumes: Annotated[dict[str, str], BeforeValidator(_volumes)] = {}


class Service(_Given):
    """A container of a rollout.

    `depends_on` has what each service must have reached before this one starts, `volumes` for each
    path in the container the rollout's volume, or a path of the host (read-only).
    """

    name: str


class _Network(_Strict):
    internal: bool = True


class _Volume(_Strict):
    pass


class _Compose(_Strict):
    services: dict[str, _Given] | None = None
    networks: dict[str, _Network | None] | None = None
    volumes: dict[str, _Volume | None] | None = None
    version: Any = None
    name: Any = None


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
    if not isinstance(data, Mapping):
        raise ConfigError(f"docker_compose_yaml must be a mapping, not {data!r}")
    try:
        compose = _Compose.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_in_words(error)) from None
    waiting = {
        name: Service.model_construct(name=name, **dict(given))
        for name, given in (compose.services or {}).items()
    }
    for name, service in waiting.items():
        where = f"docker_compose_yaml.services.{name}"
        for network in service.networks:
            if network != "default" and network not in (compose.networks or ()):
                raise ConfigError(f"{where}.networks: {network!r} is not declared")
        for source in service.volumes.values():
            if not source.startswith("/") and source not in (compose.volumes or ()):
                raise ConfigError(f"{where}.volumes: volume {source!r} is not declared")
    ordered: list[Service] = []
    while waiting:
        done = {service.name for service in ordered}
        ready = [name for name, one in waiting.items() if set(one.depends_on) <= done]
        if not ready:
            raise ConfigError(
                f"docker_compose_yaml: services {', '.join(waiting)} wait for each other, or for "
                "one that there is not"
            )
        ordered += [waiting.pop(name) for name in ready]
    return ordered


def _in_words(error: ValidationError) -> str:
    problems = []
    for one in error.errors():
        what = one["msg"].removeprefix("Value error, ")
        if one["type"] == "extra_forbidden":
            what = f"is not supported; of a service, {', '.join(_Given.model_fields)} are"
        problems.append(f"docker_compose_yaml.{'.'.join(map(str, one['loc']))}: {what}")
    return "; ".join(problems)
