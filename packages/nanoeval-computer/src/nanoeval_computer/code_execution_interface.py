"""Machines that tasks run in: what a computer can do, how one is configured, who starts it."""

from __future__ import annotations

import ast
import contextlib
import functools
import shlex
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Any, Literal, final

import chz
from pydantic import BaseModel, Field, field_validator

from nanoeval_computer.secret import Secret

__all__ = [
    "ComputerConfiguration",
    "ComputerInterface",
    "ComputerRuntime",
    "ContainerResources",
    "ExecutionResult",
    "JupyterComputerInterface",
    "JupyterExecutionResult",
    "NetworkMode",
    "RuntimeConfig",
    "VolumeMount",
    "valid_ipython_code",
]


class ExecutionResult(BaseModel):
    """What a shell command printed, both streams together, and the code it exited with."""

    output: bytes
    exit_code: int

    @property
    def unicode_output_best_effort(self) -> str:
        """The output as text; bytes that are not UTF-8 are replaced."""
        return self.output.decode("utf-8", errors="replace")


class JupyterExecutionResult(BaseModel):
    """What became of a cell that a Jupyter kernel was given."""

    status: Literal[
        "running",
        "success",
        "cancelled",
        "failed_with_in_kernel_exception",
        "failed_with_system_exception",
        "failed_with_kernel_death",
        "failed_with_response_too_large",
    ]
    output: str
    final_expression_output: str | None
    in_kernel_exception: Any | None = None
    system_exception: Any | None = None

    @functools.cached_property
    def parsed_final_expression_output(self) -> Any:
        """The value of the last expression, where it is a Python literal; None without one.

        Raises:
            ValueError, SyntaxError: it is no literal.
        """
        text = self.final_expression_output
        return ast.literal_eval(text) if text else None


class NetworkMode(StrEnum):
    """What of the internet a machine can reach."""

    NONE = "none"
    WEBCACHE_GET_ONLY = "webcache_get_only"
    UNPROXIED = "unproxied"
    API_ACCESS = "api_access"


class ComputerInterface(ABC):
    """A running machine. Dropping the object leaves the machine running: `stop` ends it."""

    @abstractmethod
    async def disable_internet(self) -> None:
        """Cut the machine off the internet, for good."""

    @abstractmethod
    async def upload(self, file: bytes, destination: str) -> None:
        """Write `file` to the path `destination` in the machine."""

    @abstractmethod
    async def download(self, file: str) -> bytes:
        """Return the content of the file at the path `file` in the machine."""

    @abstractmethod
    async def send_shell_command(self, cmd: str, *, idempotent: bool = False) -> ExecutionResult:
        """Run `cmd` in a shell of its own: nothing but files carries over to the next command.

        Args:
            idempotent: the command may be sent again where it is not known whether it ran.
        """

    @abstractmethod
    async def fetch_container_names(self) -> list[str]:
        """Return the names of the machine's containers. Deprecated."""

    @abstractmethod
    async def stop(self) -> None:
        """End the machine."""

    async def check_shell_command(self, cmd: str, *, idempotent: bool = False) -> ExecutionResult:
        """Run `cmd` and return its result.

        Raises:
            AssertionError: it exited with another code than 0.
        """
        result = await self.send_shell_command(cmd, idempotent=idempotent)
        if result.exit_code != 0:
            raise AssertionError(
                f"command {cmd!r} exited with code {result.exit_code}: "
                f"{result.unicode_output_best_effort}"
            )
        return result


class JupyterComputerInterface(ComputerInterface):
    """A machine with a Jupyter kernel that keeps its state from cell to cell."""

    @abstractmethod
    async def execute(  # the published name of the parameter
        self,
        code: str,
        timeout: int = 120,  # noqa: ASYNC109
    ) -> JupyterExecutionResult:
        """Run `code` as a cell; after `timeout` seconds it is interrupted."""

    async def check_execute(self, code: str) -> JupyterExecutionResult:
        """Run `code` as a cell and return its result.

        Raises:
            AssertionError: its status is not `success`.
        """
        result = await self.execute(code)
        if result.status != "success":
            raise AssertionError(
                f"cell {code!r} ended with status {result.status}: {result.output}"
                f"{result.in_kernel_exception or result.system_exception or ''}"
            )
        return result


class ContainerResources(BaseModel):
    """Processors, and memory in MB."""

    cpu: float = 0.2
    memory: int = 1024


class VolumeMount(BaseModel):
    """A path of the host that the machine sees, read-only."""

    host_path: str
    container_path: str


@chz.chz
class RuntimeConfig:
    """What a task's set-up and grader may know about the runtime; runtimes subclass it."""


class ComputerConfiguration(BaseModel):
    """The machine that a task needs, or a machine on its own."""

    cwd: str = "/root"
    docker_image: str | None = None
    side_images: list[str] = []
    docker_compose_yaml: str | None = None
    azure_vm_sku: str | None = None
    disk_mount_path: str | None = None
    azure_files_config: dict[str, str] | None = None
    azure_container_config: dict[str, str] | None = None
    volumes_config: dict[str, Any] = Field(default={}, deprecated="use volume_mounts")
    shm_size: str | None = None
    mem_limit: str | None = None
    timeout: int | None = None
    alcatraz_limits: dict[str, Any] | None = None
    jupyter_setup: Sequence[str] | None = None
    environment: dict[str, Any] = {}
    resources: ContainerResources = ContainerResources()
    limits: ContainerResources = ContainerResources()
    volume_mounts: list[VolumeMount] = []
    network_mode: NetworkMode = NetworkMode.NONE
    num_gpus: int = 0

    @field_validator("cwd")
    @classmethod
    def _check_cwd(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError(f"cwd={value!r} is no absolute path: begin it with '/'")
        return value

    @field_validator("environment")
    @classmethod
    def _restore_secrets(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {
            name: Secret(**given) if isinstance(given, dict) and [*given] == ["secret"] else given
            for name, given in value.items()
        }

    @property
    def allow_internet(self) -> bool:
        """Whether the machine may reach anything of the internet."""
        return self.network_mode is not NetworkMode.NONE

    def validate_runtime_config(self, runtime_config: RuntimeConfig) -> RuntimeConfig:
        """Return `runtime_config` if this task can work with it.

        Override it in a task that needs a runtime's own configuration.

        Raises:
            AssertionError: it is one of a kind that this task does not know.
        """
        if type(runtime_config) is not RuntimeConfig:
            raise AssertionError(
                f"{type(self).__name__} does not know a {type(runtime_config).__name__}: override "
                "validate_runtime_config to accept it"
            )
        return runtime_config

    async def setup(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> None:
        """Prepare a machine that has just been started, and check that it is as configured."""
        if self.num_gpus > 0:
            counted = await computer.check_shell_command("nvidia-smi -L | wc -l", idempotent=True)
            found = counted.unicode_output_best_effort.strip()
            if found != str(self.num_gpus):
                raise AssertionError(f"num_gpus={self.num_gpus}, but the machine has {found}")
        if isinstance(computer, JupyterComputerInterface):
            await computer.check_execute(
                f"import os\nos.chdir({self.cwd!r})\n"
                f"assert os.path.realpath(os.getcwd()) == os.path.realpath({self.cwd!r})"
            )
        cwd = shlex.quote(self.cwd)
        # Login shells read one of the profiles, other interactive ones .bashrc.
        line = shlex.quote(f"cd {cwd}")
        await computer.send_shell_command(
            f"echo {line} >> ~/.bashrc; for f in ~/.profile ~/.bash_profile; do "
            f'if [ -f "$f" ]; then echo {line} >> "$f"; fi; done',
            idempotent=True,
        )
        shown = await computer.check_shell_command("bash -lc 'pwd'", idempotent=True)
        if shown.unicode_output_best_effort.strip() != self.cwd:
            raise RuntimeError(
                f"login shells of the machine start in {shown.unicode_output_best_effort.strip()!r}"
                f", not in cwd={self.cwd!r}: does that folder exist there?"
            )
        for mount in self.volume_mounts:
            path = shlex.quote(mount.container_path)
            await computer.check_shell_command(
                f"test -d {path} -o -f {path} -o -S {path}", idempotent=True
            )


@chz.chz
class ComputerRuntime(ABC):
    """Starts machines. To implement: `_start_computer` and `_do_runtime_setup`."""

    runtime_config: RuntimeConfig = chz.field(
        default_factory=RuntimeConfig, doc="What tasks may know about this runtime."
    )

    @abstractmethod
    async def _do_runtime_setup(
        self, task: ComputerConfiguration, computer: ComputerInterface
    ) -> None:
        """Do what every machine of this runtime needs, before the task's own set-up."""

    @abstractmethod
    def _start_computer(
        self, task: ComputerConfiguration
    ) -> contextlib.AbstractAsyncContextManager[ComputerInterface]:
        """Return a context that starts a machine for `task`, gives it, and disposes of it."""

    async def check_tasks(  # noqa: B027  nothing to refuse unless overridden
        self, tasks: Sequence[ComputerConfiguration]
    ) -> None:
        """Refuse, before anything runs, what this runtime cannot start.

        Raises:
            ConfigError: what is wrong, with which task, and what to do.
        """

    @final
    @contextlib.asynccontextmanager
    async def run(self, task: ComputerConfiguration) -> AsyncIterator[ComputerInterface]:
        """Start a machine for `task`, set it up, give it, and dispose of it in the end."""
        async with self._start_computer(task) as computer:
            await self.setup_computer(task, computer)
            yield computer

    @final
    async def setup_computer(
        self, task: ComputerConfiguration, computer: ComputerInterface
    ) -> None:
        """Set a started machine up for `task`: the runtime's part, then the task's."""
        task.validate_runtime_config(self.runtime_config)
        await self._do_runtime_setup(task, computer)
        await task.setup(computer, runtime_config=self.runtime_config)


def valid_ipython_code(code: str) -> bool:
    """Return whether `code` parses as a cell, magics allowed.

    Raises:
        ValueError: it cannot be parsed at all, such as text that holds a null byte.
    """
    try:
        # Deferred: heavy, and only tasks that hold cells need it.
        from IPython.core.inputtransformer2 import TransformerManager  # noqa: PLC0415

        transformer = TransformerManager()  # type: ignore[no-untyped-call]
        ast.parse(transformer.transform_cell(code))
    except ImportError as error:
        raise ImportError(
            "tasks that hold cells need IPython: pip install 'nanoeval-computer[jupyter]'"
        ) from error
    except SyntaxError as error:
        if "null bytes" in str(error):
            raise ValueError(f"this cell cannot be parsed: {error}") from error
        return False
    return True
