"""A machine with a Jupyter kernel, driven from inside: it needs no network and no open port."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanoeval_core import ConfigError

from nanoeval_computer.code_execution_interface import (
    ExecutionResult,
    JupyterComputerInterface,
    JupyterExecutionResult,
)
from nanoeval_computer.machine import Machine

if TYPE_CHECKING:
    from nanoeval_computer._inside.shell import Process

_START_SECONDS = 90.0
_ANSWER_SECONDS = 90.0
"""What a cell may take beyond its own time: an interrupt, and the restart of a dead kernel."""


class JupyterMachine(JupyterComputerInterface):
    """A `Machine` with a kernel. All that a machine can do is the machine's.

    Args:
        python: the command line of the machine's Python that has jupyter_client and ipykernel.
    """

    def __init__(self, machine: Machine, python: Sequence[str]) -> None:
        self.machine = machine
        self._python = python
        self._helper: Process | None = None
        self._held = b""
        self._lock = asyncio.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.machine, name)

    async def start_kernel(self) -> Process:
        """Start the kernel, and return the process that drives it.

        Raises:
            ConfigError: the machine lacks what it takes; the message names it.
        """
        script = await asyncio.to_thread(Path(__file__).with_name("kernel.py").read_text)
        self._held = b""
        helper = await self.machine.open_process([*self._python, "-u", "-c", script])
        self._helper = helper
        answer = await self._answer(helper, _START_SECONDS)
        if answer is None or "ready" not in answer:
            said = answer["missing"] if answer else self._held.decode(errors="replace").strip()
            raise ConfigError(
                f"machine {self.machine.name} cannot run a Jupyter kernel: "
                f"{' '.join(self._python)} lacks {said or 'an answer'}. Install jupyter_client "
                "and ipykernel in the image, or name its Python in jupyter_setup"
            )
        return helper

    async def execute(
        self,
        code: str,
        timeout: int = 120,  # noqa: ASYNC109  the published name
    ) -> JupyterExecutionResult:
        self.machine.note_use()
        async with self._lock:
            helper = self._helper or await self.start_kernel()
            request = json.dumps({"code": self.machine.inward(code), "timeout": timeout}).encode()
            try:
                await helper.write(request + b"\n")
                answer = await self._answer(helper, timeout + _ANSWER_SECONDS)
            except OSError:
                answer = None
            if answer is not None:
                return JupyterExecutionResult(**answer)
            await self.close_kernel()
        await self.machine.check_running()
        return JupyterExecutionResult(
            status="failed_with_system_exception",
            output="",
            final_expression_output=None,
            system_exception="what drives the kernel was ended; the next cell gets a new one",
        )

    async def _answer(self, helper: Process, seconds: float) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(seconds):
                while b"\n" not in self._held:
                    data = await helper.read()
                    if not data:
                        return None
                    self._held += data
        except TimeoutError:
            return None
        line, _, self._held = self._held.partition(b"\n")
        try:
            answer: dict[str, Any] = json.loads(self.machine.outward(line))
        except ValueError:
            self._held = line
            return None
        return answer

    async def close_kernel(self) -> None:
        if self._helper is not None:
            helper, self._helper = self._helper, None
            await helper.close()

    async def disable_internet(self) -> None:
        await self.machine.disable_internet()

    async def upload(self, file: bytes, destination: str) -> None:
        await self.machine.upload(file, destination)

    async def download(self, file: str) -> bytes:
        return await self.machine.download(file)

    async def send_shell_command(
        self, cmd: str, *, idempotent: bool = False, **options: Any
    ) -> ExecutionResult:
        return await self.machine.send_shell_command(cmd, idempotent=idempotent, **options)

    async def fetch_container_names(self) -> list[str]:
        return await self.machine.fetch_container_names()

    async def stop(self) -> None:
        await self.close_kernel()
        await self.machine.stop()
