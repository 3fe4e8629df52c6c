"""`MachineRuntime`: what the runtimes that start our machines have in common."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import AsyncIterator

import chz

from nanoeval_computer._inside.jupyter import JupyterMachine
from nanoeval_computer.code_execution_interface import (
    ComputerConfiguration,
    ComputerInterface,
    ComputerRuntime,
)
from nanoeval_computer.machine import Machine
from nanoeval_computer.task import SimpleJupyterTask

__all__ = ["MachineRuntime"]


@chz.chz
class MachineRuntime(ComputerRuntime):
    """What our runtimes have in common. `_start_machine` is what each must say."""

    command_timeout: float = chz.field(
        default=600.0, doc="Seconds that a command may take, unless it says so itself."
    )
    max_output: int = chz.field(
        default=16 * 1024 * 1024, doc="Bytes of a command's output that are kept."
    )
    jupyter: bool = chz.field(
        default=False, doc="Start a Jupyter kernel also for tasks that do not ask for one."
    )
    keep_machines: bool = chz.field(
        default=False, doc="Leave machines running at the end, and print how to enter them."
    )

    @abstractmethod
    def _start_machine(
        self, task: ComputerConfiguration
    ) -> contextlib.AbstractAsyncContextManager[Machine]:
        """Return a context that starts a machine, gives it, and removes it."""

    @contextlib.asynccontextmanager
    async def _start_computer(
        self, task: ComputerConfiguration
    ) -> AsyncIterator[ComputerInterface]:
        async with self._start_machine(task) as machine:
            machine.runtime = self
            if not (self.jupyter or task.jupyter_setup or isinstance(task, SimpleJupyterTask)):
                yield machine
                return
            computer = JupyterMachine(machine, task.jupyter_setup or ["python3"])
            try:
                await computer.start_kernel()
                yield computer
            finally:
                await computer.close_kernel()

    async def _do_runtime_setup(
        self, task: ComputerConfiguration, computer: ComputerInterface
    ) -> None:
        pass
