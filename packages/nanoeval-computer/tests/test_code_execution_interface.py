"""Machines as clients of the published interface configure, implement and run them."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from abc import ABC
from typing import Any

import chz
import pytest
from nanoeval.contrib.utils import run_with_startup_timeout
from nanoeval.solvers.computer_tasks.code_execution_interface import (
    ComputerConfiguration,
    ComputerInterface,
    ComputerRuntime,
    ExecutionResult,
    JupyterComputerInterface,
    JupyterExecutionResult,
    NetworkMode,
    RuntimeConfig,
    VolumeMount,
    valid_ipython_code,
)
from nanoeval.solvers.computer_tasks.secret import Secret
from pydantic import BaseModel, ValidationError

from tests.support.fake_machine import FakeComputer, FakeJupyterComputer, FakeRuntime


def test_output_that_is_no_text_is_shown_as_far_as_it_is() -> None:
    result = ExecutionResult(output=b"a\xffb", exit_code=0)
    assert result.unicode_output_best_effort == "a\ufffdb"


@pytest.mark.parametrize(
    ("text", "value"), [(None, None), ("", None), ("[1, 'a']", [1, "a"]), ("True", True)]
)
def test_the_last_expression_is_read_as_a_literal(text: str | None, value: Any) -> None:
    result = JupyterExecutionResult(status="success", output="", final_expression_output=text)
    assert result.parsed_final_expression_output == value


@pytest.mark.parametrize("text", ["<object at 0x1>", "f()"])
def test_a_last_expression_that_is_no_literal_is_refused(text: str) -> None:
    result = JupyterExecutionResult(status="success", output="", final_expression_output=text)
    with pytest.raises((ValueError, SyntaxError)):
        _ = result.parsed_final_expression_output


def test_network_modes_are_taken_as_strings_and_dumped_as_such() -> None:
    configuration = ComputerConfiguration.model_validate({"network_mode": "unproxied"})
    assert configuration.network_mode is NetworkMode.UNPROXIED
    assert configuration.allow_internet
    assert not ComputerConfiguration().allow_internet
    assert json.loads(configuration.model_dump_json())["network_mode"] == "unproxied"


def test_a_cwd_must_be_absolute() -> None:
    with pytest.raises(ValidationError, match=re.escape("cwd='here' is no absolute path")):
        ComputerConfiguration(cwd="here")


def test_volumes_config_is_deprecated_and_still_read_and_assigned() -> None:
    configuration = ComputerConfiguration()
    configuration.volumes_config = {"a": 1}
    with pytest.warns(DeprecationWarning, match="volume_mounts"):
        assert configuration.volumes_config == {"a": 1}


def test_a_secret_survives_a_dump_and_shows_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_A_TEST", "hush")
    configuration = ComputerConfiguration(environment={"KEY": Secret("KEY_OF_A_TEST"), "A": None})
    dumped = configuration.model_dump_json()
    assert "hush" not in dumped
    assert ComputerConfiguration.model_validate_json(dumped) == configuration
    assert configuration.environment["KEY"].value() == "hush"


def test_check_shell_command_goes_through_the_objects_own_command() -> None:
    computer = FakeComputer(answer=lambda cmd: (3, b"no such thing"))
    with pytest.raises(AssertionError, match=r"'frob'.*code 3.*no such thing"):
        asyncio.run(computer.check_shell_command("frob", idempotent=True))
    assert computer.commands == [("frob", True)]


def test_check_execute_wants_success() -> None:
    asyncio.run(FakeJupyterComputer().check_execute("1"))
    with pytest.raises(AssertionError, match="failed_with_kernel_death"):
        asyncio.run(FakeJupyterComputer(status="failed_with_kernel_death").check_execute("1"))


class Releasable(ComputerInterface):
    """A wrapper as clients write it: it delegates, and is no Jupyter computer."""

    def __init__(self, computer: ComputerInterface) -> None:
        self.computer: ComputerInterface | None = computer

    def _inner(self) -> ComputerInterface:
        assert self.computer is not None
        return self.computer

    async def disable_internet(self) -> None:
        await self._inner().disable_internet()

    async def upload(self, file: bytes, destination: str) -> None:
        await self._inner().upload(file, destination)

    async def download(self, file: str) -> bytes:
        return await self._inner().download(file)

    async def send_shell_command(self, cmd: str, *, idempotent: bool = False) -> ExecutionResult:
        return await self._inner().send_shell_command(cmd, idempotent=idempotent)

    async def fetch_container_names(self) -> list[str]:
        return await self._inner().fetch_container_names()

    async def stop(self) -> None:
        await self._inner().stop()


def test_wrappers_delegate_and_are_set_up_without_a_kernel() -> None:
    inner = FakeJupyterComputer()
    wrapped = Releasable(inner)
    assert not isinstance(wrapped, JupyterComputerInterface)
    asyncio.run(ComputerConfiguration().setup(wrapped, RuntimeConfig()))
    assert inner.cells == []
    assert all(idempotent for _, idempotent in inner.commands)


def test_set_up_changes_to_the_working_folder_and_checks_it() -> None:
    computer = FakeJupyterComputer()
    mounts = [VolumeMount(host_path="/data", container_path="/mnt/data")]
    asyncio.run(ComputerConfiguration(volume_mounts=mounts).setup(computer, RuntimeConfig()))
    (cell,) = computer.cells
    assert "os.chdir('/root')" in cell
    commands = [command for command, _ in computer.commands]
    assert "~/.bashrc" in commands[0]
    assert commands[1] == "bash -lc 'pwd'"
    assert "/mnt/data" in commands[2]
    assert len(commands) == 3


def test_set_up_refuses_another_working_folder() -> None:
    with pytest.raises(RuntimeError, match="'/elsewhere', not in cwd='/root'"):
        asyncio.run(ComputerConfiguration().setup(FakeComputer("/elsewhere"), RuntimeConfig()))


def test_set_up_counts_the_gpus() -> None:
    computer = FakeComputer(answer=lambda cmd: (0, b"1\n" if "nvidia-smi" in cmd else b"/root"))
    asyncio.run(ComputerConfiguration(num_gpus=1).setup(computer, RuntimeConfig()))
    with pytest.raises(AssertionError, match="num_gpus=2, but the machine has 1"):
        asyncio.run(ComputerConfiguration(num_gpus=2).setup(computer, RuntimeConfig()))


@chz.chz
class OwnConfig(RuntimeConfig):
    image: str


def test_a_runtime_config_of_another_kind_is_refused_unless_the_task_knows_it() -> None:
    class Knowing(ComputerConfiguration):
        def validate_runtime_config(self, runtime_config: RuntimeConfig) -> RuntimeConfig:
            return runtime_config

    config = OwnConfig(image="x")
    with pytest.raises(AssertionError, match="does not know a OwnConfig"):
        ComputerConfiguration().validate_runtime_config(config)
    assert Knowing().validate_runtime_config(config) is config


def test_run_gives_the_very_computer_that_was_started_after_its_set_up() -> None:
    runtime = FakeRuntime()

    async def twice() -> None:
        for _ in range(2):
            async with runtime.run(ComputerConfiguration()) as computer:
                assert computer is runtime.computer

    asyncio.run(twice())
    assert runtime.calls == ["start", "runtime setup", "left"] * 2


def test_a_failing_set_up_and_a_failing_body_leave_the_machine_with_their_exception() -> None:
    runtime = FakeRuntime(computer=FakeComputer("/elsewhere"))

    async def failing_set_up() -> None:
        async with runtime.run(ComputerConfiguration()):
            pass

    with pytest.raises(RuntimeError):
        asyncio.run(failing_set_up())
    assert runtime.calls[-1] == "left with RuntimeError"

    async def failing_body() -> None:
        async with FakeRuntime(calls=runtime.calls).run(ComputerConfiguration()):
            raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(failing_body())
    assert runtime.calls[-1] == "left with KeyError"


class NeverReady(ComputerConfiguration):
    async def setup(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> None:
        await asyncio.Event().wait()


def test_a_start_that_takes_too_long_is_given_up_and_the_machine_disposed_of() -> None:
    runtime = FakeRuntime()

    async def start() -> None:
        async with run_with_startup_timeout(runtime=runtime, task=NeverReady(), timeout=0.01):
            pass

    with pytest.raises(TimeoutError):
        asyncio.run(start())
    assert runtime.calls[-1] == "left with CancelledError"


def test_after_the_start_nothing_is_timed_and_the_runtime_sees_no_exception() -> None:
    runtime = FakeRuntime()

    async def body() -> None:
        async with run_with_startup_timeout(runtime, ComputerConfiguration(), timeout=60):
            raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(body())
    assert runtime.calls == ["start", "runtime setup", "left"]


def test_runtimes_are_fields_of_pydantic_models_and_of_chz_classes() -> None:
    class Job(BaseModel, arbitrary_types_allowed=True):
        runtime: ComputerRuntime = FakeRuntime()

    @chz.chz
    class Holder:
        runtime_config: RuntimeConfig = chz.field(default_factory=RuntimeConfig)

    class Mixed(ComputerConfiguration, ABC):
        pass

    assert Job().runtime.runtime_config == Holder().runtime_config
    assert Mixed().cwd == "/root"


@pytest.mark.parametrize(
    ("code", "valid"), [("1 + 1", True), ("%timeit 1\n!ls\nx?", True), ("def f(:", False)]
)
def test_cells_may_hold_magics(code: str, valid: bool) -> None:
    assert valid_ipython_code(code) is valid


def test_a_cell_that_cannot_be_parsed_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="null"):
        valid_ipython_code("a\0b")


def test_importing_loads_no_client_and_no_notebook() -> None:
    modules = "code_execution_interface limits pausable_timer simple_solver solver steps task local"
    names = ", ".join(f"nanoeval.solvers.computer_tasks.{name}" for name in modules.split())
    script = f"import {names}, nanoeval.contrib.utils, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    heavy = {"openai", "numpy", "pandas", "IPython", "structlog", "aiodocker", "aiohttp", "yaml"}
    assert not set(done.stdout.split()) & (heavy | {"jupyter_client", "nanoeval_runner"})
