"""Machines without an engine: a folder and processes of this host, with bubblewrap or without."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import chz
from nanoeval_core import ConfigError, RolloutSystemError

from nanoeval_computer._inside.shell import COOKIE, SERVE, SERVE_ON_HOST, Process
from nanoeval_computer._reaper.process import DYING_SECONDS, end_processes
from nanoeval_computer._reaper.watch import reaper_for
from nanoeval_computer.code_execution_interface import ComputerConfiguration, NetworkMode
from nanoeval_computer.machine import Machine, resolve_environment
from nanoeval_computer.runtime import MachineRuntime

__all__ = ["BubblewrapMachine", "BubblewrapRuntime", "LocalMachine", "LocalRuntime"]

log = logging.getLogger("nanoeval.computer")

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The search path of commands: nothing of the driver's environment enters a machine."""

MACHINE = "NANOEVAL_MACHINE"
"""The variable in the environment of a machine's processes that holds its folder."""


_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def _adopt() -> None:
    """Make this process the parent of all that its children leave behind, so that it sees them.

    Called between fork and exec, where little is safe: it is one system call.
    """
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


class _HostProcess:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None  # noqa: S101  both are pipes
        assert process.stdout is not None  # noqa: S101
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout

    async def write(self, data: bytes) -> None:
        self._stdin.write(data)
        await self._stdin.drain()

    async def read(self) -> bytes:
        return await self._stdout.read(65536)

    async def wait(self) -> int | None:
        return await self._process.wait()

    async def close(self) -> None:
        self._stdin.close()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        # What it had still to say; a process that got away may hold its output open for ever.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DYING_SECONDS):
                while await self._stdout.read(65536):
                    pass
                await self._process.wait()


class LocalMachine(Machine):
    """A folder of this host and processes in it. It isolates nothing.

    The task's `cwd` stands for the folder: in commands and in file names it is replaced by it,
    and back in outputs. All other paths are this host's.
    """

    def __init__(self, folder: Path, task: ComputerConfiguration, runtime: MachineRuntime) -> None:
        values, masked = resolve_environment(task.environment)
        home = str(folder / "home")
        super().__init__(
            folder.name,
            cwd=home,
            # With this Python as the last resort: a host may have no other.
            environment={
                "HOME": home,
                "PATH": f"{PATH}:{os.path.dirname(sys.executable)}",
                "TMPDIR": str(folder / "tmp"),
                **values,
            },
            masked=masked,
            command_timeout=runtime.command_timeout,
            max_output=runtime.max_output,
        )
        self.folder = folder
        self._serve = SERVE_ON_HOST
        self._home = home
        self._task_cwd = task.cwd.rstrip("/")
        self._in_commands = re.compile(rf"(?<![\w./-]){re.escape(self._task_cwd)}(?![\w.-])")

    def inward(self, text: str) -> str:
        return self._in_commands.sub(lambda _: self._home, text)

    def outward(self, output: bytes) -> bytes:
        return super().outward(output).replace(self._home.encode(), self._task_cwd.encode())

    async def _spawn(self, argv: Sequence[str]) -> Process:
        process = await asyncio.create_subprocess_exec(
            *self._command(argv),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            cwd=self.folder / "home",
            env={MACHINE: str(self.folder), **self._environment},
            preexec_fn=_adopt if sys.platform == "linux" else None,
        )
        return _HostProcess(process)

    def _command(self, argv: Sequence[str]) -> list[str]:
        return [*argv]

    async def _kill(self, cookie: str) -> bool:
        return await asyncio.to_thread(end_processes, f"{COOKIE}={cookie}")

    async def _why_over(self) -> str | None:
        return None if self.folder.is_dir() else "its folder was removed"

    async def disable_internet(self) -> None:
        log.warning("%s: a LocalRuntime isolates nothing: the internet stays reachable", self.name)

    async def fetch_container_names(self) -> list[str]:
        return []

    async def stop(self) -> None:
        await self.close()
        if self._may_have_left:  # a search of the whole host, and most commands leave nothing
            await asyncio.to_thread(end_processes, f"{MACHINE}={self.folder}")

    @property
    def attach_command(self) -> str:
        return f"cd {self._home}"


@chz.chz
class LocalRuntime(MachineRuntime):
    """Runs tasks in a folder of this host. For development: it isolates nothing."""

    async def check_tasks(self, tasks: Sequence[ComputerConfiguration]) -> None:
        check_host_tasks(self, tasks)
        log.warning(
            "%s isolates nothing: commands run as you, on this host, with its network",
            type(self).__name__,
        )

    @contextlib.asynccontextmanager
    async def _start_machine(self, task: ComputerConfiguration) -> AsyncIterator[Machine]:
        check_host_tasks(self, [task])
        async with _machine(LocalMachine, task, self) as machine:
            yield machine


class BubblewrapMachine(LocalMachine):
    """A folder of this host, in namespaces of its own: `cwd` and `/tmp` can be written, no more."""

    def __init__(self, folder: Path, task: ComputerConfiguration, runtime: MachineRuntime) -> None:
        super().__init__(folder, task, runtime)
        self._serve = SERVE
        self._cwd = task.cwd
        self._home = self._task_cwd  # paths are the same inside
        self._environment.update(HOME=task.cwd, TMPDIR="/tmp", PATH=PATH)
        self._bubblewrap = _bubblewrap(folder, task)

    def _command(self, argv: Sequence[str]) -> list[str]:
        return [*self._bubblewrap, *argv]

    async def disable_internet(self) -> None:
        if "--share-net" in self._bubblewrap:
            raise RolloutSystemError(
                f"machine {self.name} was started with the internet, which bubblewrap cannot take "
                "away from it later: use a ContainerRuntime, or network_mode none"
            )
        await self.check_offline()

    @property
    def attach_command(self) -> str:
        return " ".join([*self._bubblewrap, "bash"])


@chz.chz
class BubblewrapRuntime(MachineRuntime):
    """Runs tasks under `bwrap`: no network, a read-only root, homes of this host out of sight."""

    async def check_tasks(self, tasks: Sequence[ComputerConfiguration]) -> None:
        if shutil.which("bwrap") is None:
            raise ConfigError(
                "BubblewrapRuntime needs the command bwrap: install the package bubblewrap"
            )
        check_host_tasks(self, tasks)

    @contextlib.asynccontextmanager
    async def _start_machine(self, task: ComputerConfiguration) -> AsyncIterator[Machine]:
        await self.check_tasks([task])
        async with _machine(BubblewrapMachine, task, self) as machine:
            if not task.allow_internet:
                await machine.check_offline()
            yield machine


def check_host_tasks(runtime: MachineRuntime, tasks: Sequence[ComputerConfiguration]) -> None:
    """Refuse what only containers can do."""
    isolated = isinstance(runtime, BubblewrapRuntime)
    for task in tasks:
        wrong = None
        if task.network_mode not in (NetworkMode.NONE, NetworkMode.UNPROXIED):
            wrong = f"network_mode={task.network_mode.value!r}"
        elif task.side_images or task.docker_compose_yaml:
            wrong = "side_images" if task.side_images else "docker_compose_yaml"
        elif task.num_gpus and isolated:
            wrong = f"num_gpus={task.num_gpus}"
        elif not isolated and any(m.host_path != m.container_path for m in task.volume_mounts):
            wrong = "volume_mounts to another path"
        elif not task.cwd.strip("/"):
            wrong = "cwd='/'"
        if wrong:
            name = getattr(task, "name", type(task).__name__)
            raise ConfigError(
                f"task {name!r}: {type(runtime).__name__} cannot do {wrong}: use a "
                "ContainerRuntime, or change the task"
            )


@contextlib.asynccontextmanager
async def _machine(
    kind: type[LocalMachine], task: ComputerConfiguration, runtime: MachineRuntime
) -> AsyncIterator[LocalMachine]:
    """Give a machine in a folder of its own, which is removed, also if this process ends."""
    folder = Path(tempfile.gettempdir(), f"nanoeval-machine-{secrets.token_hex(8)}")
    if not runtime.keep_machines:
        reaper_for("").watch("folder", str(folder))
    for part in (folder, folder / "home", folder / "tmp"):
        part.mkdir(mode=0o700)
    machine = kind(folder, task, runtime)
    try:
        yield machine
    finally:
        await machine.stop()
        if runtime.keep_machines:
            log.warning("machine kept; enter it with: %s", machine.attach_command)
        else:
            await asyncio.to_thread(_remove, folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        log.warning("%s is left to be removed later", folder)
    else:
        reaper_for("").forget(str(folder))


def _bubblewrap(folder: Path, task: ComputerConfiguration) -> list[str]:
    """Return the command line up to the command: which paths of this host are seen, and where."""
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--proc", "/proc", "--dev", "/dev"]
    hidden = {"/proc", "/dev", "/sys", "/tmp", "/run", "/root", "/home", "/mnt", "/media"}
    for path in sorted(Path("/").iterdir()):
        if path.is_symlink():
            command += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir() and str(path) not in hidden:
            command += ["--ro-bind", str(path), str(path)]
    home = Path(os.path.expanduser("~"))
    if home.is_dir() and home.parts[:2] not in [Path(path).parts[:2] for path in hidden]:
        command += ["--tmpfs", str(home)]
    command += ["--bind", str(folder / "tmp"), "/tmp"]
    command += ["--bind", str(folder / "home"), task.cwd, "--chdir", task.cwd]
    for mount in task.volume_mounts:
        command += ["--ro-bind", mount.host_path, mount.container_path]
    if task.network_mode is NetworkMode.UNPROXIED:
        command.append("--share-net")
    return command
