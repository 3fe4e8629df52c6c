"""What a person does with engines and machines: look, clean up, sit down at one."""

from __future__ import annotations

import dataclasses
import http.client
from typing import Any, TypeVar

import chz
from nanoeval_core import ConfigError

from nanoeval_computer._containers.engine import find_engine
from nanoeval_computer._reaper.process import EngineAPI
from nanoeval_computer.code_execution_interface import ComputerRuntime
from nanoeval_computer.runtime import MachineRuntime
from nanoeval_computer.simple_solver import UserSolver, result_of
from nanoeval_computer.steps import FinalResult
from nanoeval_computer.task import ComputerTask

__all__ = [
    "EngineReport",
    "clean_containers",
    "describe_engine",
    "play_task",
    "runtime_of",
    "with_kept_machines",
]

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineReport:
    """A container engine, as `nanoeval doctor` shows it.

    Attributes:
        url: where it is; empty without one.
        name: what it is, with its version; empty when none answers.
        problems: what it cannot do, and what to do about it.
    """

    url: str = ""
    name: str = ""
    problems: tuple[str, ...] = ()


def describe_engine(url: str | None = None) -> EngineReport:
    """Return which engine answers, and what it cannot do."""
    try:
        url = find_engine(url)
    except ConfigError as error:
        return EngineReport(problems=(str(error),))
    api = EngineAPI(url)
    try:
        status, version = api.call("GET", "/version")
        _, info = api.call("GET", "/info")
    except (OSError, http.client.HTTPException, ValueError) as error:
        return EngineReport(url=url, problems=(f"{url} does not answer: {error}",))
    if status != 200 or not isinstance(version, dict):
        return EngineReport(url=url, problems=(f"{url} answered with status {status}",))
    parts: list[dict[str, Any]] = version.get("Components") or [{}]
    name = parts[0].get("Name", "Docker").replace("Engine", "").strip() or "Docker"
    problems = [
        f"{what} cannot be limited: tasks that set it are started without"
        for what, field in (
            ("memory", "MemoryLimit"),
            ("cpu", "CpuCfsQuota"),
            ("the number of processes", "PidsLimit"),
        )
        if (info or {}).get(field) is False
    ]
    return EngineReport(
        url=url, name=f"{name} {version.get('Version', '')}".strip(), problems=tuple(problems)
    )


def clean_containers(
    url: str | None = None, *, kept: bool = False, dry_run: bool = False
) -> list[str]:
    """Remove what dead processes of this host left in the engine, and return its names.

    Args:
        kept: also what was left on purpose, with `keep_machines`.
        dry_run: only return the names.

    Raises:
        ConfigError: no engine answers.
    """
    url = find_engine(url)
    api = EngineAPI(url)
    try:
        left = api.left(kept=kept)
        return [name for kind, name in left if dry_run or api.remove(kind, name)]
    except (OSError, http.client.HTTPException) as error:
        raise ConfigError(f"the container engine at {url} does not answer: {error}") from error


def runtime_of(solver: object) -> ComputerRuntime:
    """Return the runtime that a solver starts its machines with, whatever it calls the field.

    Raises:
        ConfigError: it has none.
    """
    for name in chz.chz_fields(solver) if chz.is_chz(solver) else ():
        value = getattr(solver, name)
        if isinstance(value, ComputerRuntime):
            return value
    raise ConfigError(
        f"{type(solver).__name__} has no field that is a ComputerRuntime: name a solver that "
        "starts machines, such as solver=MockAgentSolver solver.runtime=LocalRuntime"
    )


def with_kept_machines(value: T) -> T:
    """Return a chz object, such as an eval, whose runtimes leave their machines running.

    Raises:
        ConfigError: there is no runtime in it that can.
    """
    kept = _kept(value)
    if kept is None:
        raise ConfigError(f"{type(value).__name__} starts no machines that can be kept")
    return kept


def _kept(value: T) -> T | None:
    """Return `value` with machines that are kept; None where it starts none."""
    if not chz.is_chz(value):
        return None
    fields = {name: _kept(getattr(value, name)) for name in chz.chz_fields(value)}
    changed = {name: field for name, field in fields.items() if field is not None}
    if isinstance(value, MachineRuntime):
        changed["keep_machines"] = True
    return chz.replace(value, **changed) if changed else None


async def play_task(task: ComputerTask, runtime: ComputerRuntime) -> FinalResult:
    """Let a person work on `task` in its real machine, and grade it: the human baseline."""
    return await result_of(UserSolver(runtime=runtime), task)
