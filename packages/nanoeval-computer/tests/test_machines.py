"""What every machine of ours does, whatever starts it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from nanoeval import RolloutSystemError
from nanoeval.errors import ConfigError
from nanoeval.solvers.computer_tasks.code_execution_interface import (
    ComputerConfiguration,
    JupyterComputerInterface,
    NetworkMode,
    VolumeMount,
)
from nanoeval.solvers.computer_tasks.containers import ContainerRuntime
from nanoeval.solvers.computer_tasks.local import BubblewrapRuntime, LocalMachine, LocalRuntime
from nanoeval.solvers.computer_tasks.machine import Machine
from nanoeval.solvers.computer_tasks.runtime import MachineRuntime
from nanoeval.solvers.computer_tasks.secret import Secret

pytestmark = pytest.mark.timeout(180)  # real machines, on a busy host
NO_BWRAP = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bwrap is not here: apt-get install bubblewrap"
)
RUNTIMES: list[Any] = [
    pytest.param(LocalRuntime, id="local"),
    pytest.param(BubblewrapRuntime, id="bubblewrap", marks=NO_BWRAP),
    pytest.param(ContainerRuntime, id="podman"),
]
Make = Callable[..., contextlib.AbstractAsyncContextManager[Machine]]


@pytest.fixture(params=RUNTIMES)
def machine(request: pytest.FixtureRequest) -> Make:
    """Start a machine: fields of the task by name, those of the runtime as `runtime`."""
    fields: dict[str, Any] = {}
    if request.param is ContainerRuntime:
        fields["docker_image"] = request.getfixturevalue("engine").image

    @contextlib.asynccontextmanager
    async def start(runtime: dict[str, Any] | None = None, **task: Any) -> AsyncIterator[Machine]:
        made: MachineRuntime = request.param(**(runtime or {}))
        async with made.run(ComputerConfiguration(**fields, **task)) as computer:
            assert isinstance(computer, Machine)
            yield computer

    return start


def test_commands_start_in_cwd_and_see_nothing_of_the_driver(
    machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOEVAL_TEST_OF_LEAKS", "leaked")

    async def go() -> str:
        async with machine(environment={"GIVEN": "yes", "NOTHING": None}) as computer:
            result = await computer.check_shell_command("pwd; env")
            return result.unicode_output_best_effort

    lines = asyncio.run(go()).splitlines()
    assert lines[0] == "/root"
    assert {"GIVEN=yes", "LANG=C.UTF-8", "TZ=UTC"} <= set(lines)
    assert "leaked" not in "".join(lines)
    assert not any(line.startswith("NOTHING") for line in lines)


def test_every_process_of_a_command_ends_with_it(machine: Make) -> None:
    sleep = f"sleep 4242{os.getpid()}"  # on the host itself others may test the same

    async def go() -> None:
        async with machine() as computer:
            hidden = f'env -i PATH="$PATH" setsid {sleep} &'  # without the mark of its command
            started = f"{hidden} setsid {sleep} & {sleep} & echo started"
            result = await computer.send_shell_command(started, timeout=60)
            assert (result.output, result.exit_code) == (b"started\n", 0)
            left = await computer.send_shell_command("ps -ef 2>/dev/null || ps; exit 0")
            assert sleep.encode() not in left.output
            hung = await computer.send_shell_command(
                f"echo so far; {hidden} setsid {sleep} & {sleep}", timeout=2
            )
            assert hung.timed_out
            assert (hung.output, hung.exit_code) == (b"so far\n", 124)
            left = await computer.send_shell_command("ps -ef 2>/dev/null || ps; exit 0")
            assert sleep.encode() not in left.output

    asyncio.run(go())


def test_what_is_meant_to_stay_in_the_background_stays(machine: Make) -> None:
    async def go() -> None:
        async with machine() as computer:
            started = await computer.send_shell_command(
                "(while [ ! -e stop ]; do sleep 0.1; done; echo done > stopped) & echo up",
                background=True,
            )
            assert started.output == b"up\n"
            other = await computer.send_shell_command("echo other")  # ends what it left itself
            assert other.output == b"other\n"
            waited = await computer.send_shell_command(
                "touch stop; while [ ! -e stopped ]; do sleep 0.1; done", timeout=60
            )
            assert waited.exit_code == 0

    asyncio.run(go())


@pytest.mark.parametrize(
    ("command", "output", "exit_code"),
    [
        ("printf '\\0\\1\\377'", b"\0\1\xff", 0),
        ("echo out; echo err >&2; exit 3", b"out\nerr\n", 3),
        ("cat; echo no input", b"no input\n", 0),
        ("echo '" + "x" * 300_000 + "' | wc -c", b"300001\n", 0),
        ("kill -9 $$", b"", 137),
        ("no_such_command_at_all 2>/dev/null", b"", 127),
        ("set +m; trap '' TERM; echo \"a  b\"\necho 'c'", b"a  b\nc\n", 0),
    ],
    ids=["binary", "both streams", "no stdin", "long", "killed", "unknown", "lines"],
)
def test_what_a_command_prints(machine: Make, command: str, output: bytes, exit_code: int) -> None:
    async def go() -> None:
        async with machine() as computer:
            result = await computer.send_shell_command(command)
            assert (result.output, result.exit_code) == (output, exit_code)
            assert result.elapsed > 0

    asyncio.run(go())


def test_long_output_keeps_its_head_and_tail(machine: Make) -> None:
    async def go() -> None:
        async with machine(runtime={"max_output": 1000}) as computer:
            command = "echo head; head -c 200000000 /dev/zero; echo tail"
            result = await computer.send_shell_command(command)
            assert result.output.startswith(b"head\n")
            assert result.output.endswith(b"tail\n")
            assert len(result.output) < 1100
            assert result.truncated_bytes == 200_000_010 - 1000
            assert (await computer.send_shell_command("echo on")).output == b"on\n"

    asyncio.run(go())


def test_commands_of_one_machine_run_next_to_each_other(machine: Make) -> None:
    async def go() -> None:
        async with machine() as computer, asyncio.TaskGroup() as group:
            wait = "while [ ! -e go ]; do sleep 0.05; done; echo {}"
            waiting = [
                group.create_task(computer.send_shell_command(wait.format(i))) for i in range(3)
            ]
            await computer.check_shell_command("touch go")
            results = [await task for task in waiting]
            assert [result.output for result in results] == [b"0\n", b"1\n", b"2\n"]

    asyncio.run(go())


def test_a_killed_shell_costs_its_command_alone(machine: Make) -> None:
    async def go() -> None:
        async with machine() as computer:
            result = await computer.send_shell_command("echo before; kill -9 $PPID; sleep 0.1")
            assert result.exit_code == 137
            assert b"the shell of this command was killed" in result.output
            assert (await computer.send_shell_command("echo after")).output == b"after\n"

    asyncio.run(go())


def test_a_canceled_wait_ends_the_command(machine: Make) -> None:
    sleep = f"sleep 4343{os.getpid()}"

    async def go() -> None:
        async with machine() as computer:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await computer.send_shell_command(f"setsid {sleep} & {sleep}")
            left = await computer.send_shell_command("ps -ef 2>/dev/null || ps; exit 0")
            assert sleep.encode() not in left.output

    asyncio.run(go())


def test_files_go_up_and_down(machine: Make, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(os.urandom(5_000_000))

    async def go() -> None:
        async with machine() as computer:
            for size in (0, 5, 200_000, 3_000_001):
                content = os.urandom(size)
                await computer.upload(content, "/root/new folder/it's.bin")
                assert await computer.download("/root/new folder/it's.bin") == content
            await computer.upload_path(tmp_path / "source", "/root/big")
            await computer.download_path("/root/big", tmp_path / "target")

    asyncio.run(go())
    assert (tmp_path / "target").read_bytes() == (tmp_path / "source").read_bytes()


def test_links_folders_fifos_and_devices_are_errors(machine: Make, tmp_path: Path) -> None:
    async def go() -> None:
        async with machine() as computer:
            await computer.check_shell_command("echo x > file; ln -s file link; mkfifo fifo")
            for name, problem in (
                ("link", "is a symbolic link"),
                ("fifo", "is no regular file"),
                ("", "is a folder"),
            ):
                with pytest.raises(OSError, match=problem):
                    await computer.download(f"/root/{name}")
                with pytest.raises(OSError, match=problem):
                    await computer.upload(b"", f"/root/{name}")
            with pytest.raises(OSError, match="is no regular file"):
                await computer.download("/dev/null")
            with pytest.raises(FileNotFoundError, match="/root/missing in the machine"):
                await computer.download_path("/root/missing", tmp_path / "target")
            assert os.listdir(tmp_path) == []
            os.symlink("/etc/passwd", tmp_path / "link")
            with pytest.raises(OSError, match="link"):
                await computer.upload_path(tmp_path / "link", "/root/x")

    asyncio.run(go())


def test_secrets_reach_commands_and_are_masked(
    machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_OF_A_TEST", "hush-hush")

    async def go() -> None:
        async with machine(environment={"TOKEN": Secret("TOKEN_OF_A_TEST")}) as computer:
            result = await computer.send_shell_command("echo ${#TOKEN} $TOKEN")
            assert result.output == b"9 [TOKEN_OF_A_TEST]\n"

    asyncio.run(go())


def test_a_secret_that_is_not_set_is_named(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN_OF_A_TEST", raising=False)

    async def go() -> None:
        async with machine(environment={"TOKEN": Secret("TOKEN_OF_A_TEST")}):
            pass

    with pytest.raises(RolloutSystemError, match="TOKEN_OF_A_TEST"):
        asyncio.run(go())


@pytest.mark.parametrize("mode", [NetworkMode.API_ACCESS, NetworkMode.WEBCACHE_GET_ONLY])
def test_network_modes_that_cannot_be_kept_are_refused(machine: Make, mode: NetworkMode) -> None:
    async def go() -> None:
        async with machine(network_mode=mode):
            pass

    with pytest.raises(ConfigError, match="network_mode"):
        asyncio.run(go())


@NO_BWRAP
def test_bubblewrap_hides_the_host() -> None:
    async def go() -> str:
        async with BubblewrapRuntime().run(ComputerConfiguration(cwd="/work")) as computer:
            look = (
                "touch /usr/x; ls -a /home /root /work /tmp; wc -l < /proc/net/dev; "
                "echo y > /tmp/y && echo writable"
            )
            return (await computer.send_shell_command(look)).unicode_output_best_effort

    said = asyncio.run(go())
    assert "Read-only file system" in said
    assert os.path.basename(os.path.expanduser("~/.ssh")) not in said
    assert "\n3\nwritable\n" in said  # two lines of headings, and lo


def test_local_machines_say_what_they_cannot_do() -> None:
    mounts = [VolumeMount(host_path="/etc", container_path="/mnt")]
    for fields, problem in (
        ({"docker_compose_yaml": "services: {}"}, "docker_compose_yaml"),
        ({"volume_mounts": mounts}, "volume_mounts"),
        ({"cwd": "/"}, "cwd"),
    ):
        with pytest.raises(ConfigError, match=problem):
            asyncio.run(LocalRuntime().check_tasks([ComputerConfiguration(**fields)]))


def test_local_runtimes_warn_that_they_isolate_nothing(caplog: pytest.LogCaptureFixture) -> None:
    asyncio.run(LocalRuntime().check_tasks([ComputerConfiguration()]))
    assert "isolates nothing" in caplog.text


def test_a_local_machine_leaves_nothing_behind() -> None:
    async def go() -> tuple[Path, int]:
        async with LocalRuntime().run(ComputerConfiguration()) as computer:
            assert isinstance(computer, LocalMachine)
            started = await computer.send_shell_command(
                "setsid sleep 4444 & echo $!", background=True
            )
            return computer.folder, int(started.output)

    folder, pid = asyncio.run(go())
    assert not folder.exists()
    with contextlib.suppress(FileNotFoundError):  # a zombie at most, until its parent looks
        assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_kernel_runs_inside_without_a_network() -> None:
    pytest.importorskip("ipykernel")
    task = ComputerConfiguration(jupyter_setup=[sys.executable])

    async def go() -> None:
        async with LocalRuntime().run(task) as computer:
            assert isinstance(computer, JupyterComputerInterface)
            first = await computer.check_execute("print('a'); x = 20\nx + 1")
            assert first.parsed_final_expression_output == 21
            assert first.output == "a\n"
            assert (await computer.check_execute("x")).final_expression_output == "20"
            where = await computer.check_execute("import os; os.getcwd()")
            assert where.parsed_final_expression_output == "/root"
            failed = await computer.execute("1 / 0")
            assert failed.status == "failed_with_in_kernel_exception"
            assert failed.in_kernel_exception["ename"] == "ZeroDivisionError"
            slow = await computer.execute("import time; time.sleep(600)", timeout=1)
            assert slow.status == "cancelled"
            assert (await computer.check_execute("x")).final_expression_output == "20"
            large = await computer.execute("print('y' * 20_000_000)")
            assert large.status == "failed_with_response_too_large"
            died = await computer.execute("os.kill(os.getpid(), 9)")
            assert died.status == "failed_with_kernel_death"
            assert (await computer.check_execute("1")).final_expression_output == "1"
            await computer.upload(b"x", "/root/file")
            assert await computer.download("/root/file") == b"x"

    asyncio.run(go())


def test_what_a_kernel_lacks_is_named(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)

    async def go() -> None:
        async with LocalRuntime().run(ComputerConfiguration(jupyter_setup=[str(bare)])):
            pass

    with pytest.raises(ConfigError, match=r"cannot run a Jupyter kernel: .* lacks ipykernel"):
        asyncio.run(go())
