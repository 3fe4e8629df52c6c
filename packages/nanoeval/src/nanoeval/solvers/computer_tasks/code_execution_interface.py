"""Machines that tasks run in."""

from nanoeval_computer.code_execution_interface import (
    ComputerConfiguration,
    ComputerInterface,
    ComputerRuntime,
    ContainerResources,
    ExecutionResult,
    JupyterComputerInterface,
    JupyterExecutionResult,
    NetworkMode,
    RuntimeConfig,
    VolumeMount,
    valid_ipython_code,
)

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
