"""No machine outlives its run: `kill -9` of all there is, with machines up and being created."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nanoeval_computer._reaper.process import EngineAPI
from nanoeval_computer._reaper.watch import Reaper

from tests.support.podman import Engine
from tests.support.script import ROOT, environment

pytestmark = pytest.mark.timeout(240)  # dozens of machines, on a busy host
LATE = 10.0
"""Seconds after which nothing may be left."""


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.1)


def children(pid: int) -> dict[int, str]:
    """The processes that `pid` has started, with their command lines."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = folder.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == pid:
                line = folder.joinpath("cmdline").read_bytes().replace(b"\0", b" ")
                found[int(folder.name)] = line.decode(errors="replace")
    return found


@contextlib.contextmanager
def run_with_machines(
    engine: Engine | None, folder: Path, *, tasks: int, up: int, processes: int = 0
) -> Iterator[subprocess.Popen[bytes]]:
    """A run with at least `up` of its machines up, and the others being created."""
    image = engine.image if engine else "local"
    arguments = [image, str(folder), str(tasks), str(processes)]
    run = subprocess.Popen(
        [sys.executable, "-m", "tests.support.hanging_machines", *arguments],
        cwd=ROOT,
        env=environment(folder, DOCKER_HOST=engine.url if engine else "", TMPDIR=str(folder)),
        stderr=subprocess.PIPE,
    )
    try:
        wait_for(
            lambda: len(list(folder.glob("up-*"))) >= up or run.poll() is not None,
            f"{up} machines up",
        )
        assert run.poll() is None, run.communicate()[1].decode()
        yield run
    finally:
        run.kill()
        run.communicate()


def nothing_is_left(engine: Engine) -> None:
    wait_for(lambda: EngineAPI(engine.url).owned() == [], "nothing left", LATE)


def test_the_driver_is_killed_with_twenty_machines_up(engine: Engine, tmp_path: Path) -> None:
    with run_with_machines(engine, tmp_path, tasks=25, up=20) as run:
        run.kill()
        run.wait()
        nothing_is_left(engine)


def test_an_executor_is_killed(engine: Engine, tmp_path: Path) -> None:
    """Its machines go; its tasks get others, in the executors that are left."""
    with run_with_machines(engine, tmp_path, tasks=4, up=4, processes=2) as run:
        before = EngineAPI(engine.url).owned()
        owners = {int(owner.partition(":")[0]) for _, _, owner in before}
        assert run.pid not in owners
        for mark in tmp_path.glob("up-*"):
            mark.unlink()
        os.kill(min(owners), signal.SIGKILL)
        gone = [name for _, name, owner in before if owner.startswith(f"{min(owners)}:")]
        wait_for(lambda: len(list(tmp_path.glob("up-*"))) == len(gone), "other machines for them")
        wait_for(lambda: not set(gone) & set(engine.names()), "old machines go", LATE)
        run.kill()
        run.wait()
        nothing_is_left(engine)


def test_driver_and_reaper_are_killed(engine: Engine, tmp_path: Path) -> None:
    """Nobody is left to remove anything: the next start of any run does it."""
    with run_with_machines(engine, tmp_path, tasks=3, up=3) as run:
        reapers = [pid for pid, line in children(run.pid).items() if "_reaper" in line]
        assert len(reapers) == 1
        os.kill(run.pid, signal.SIGSTOP)  # so that it does not start another one
        os.kill(reapers[0], signal.SIGKILL)
        run.kill()
        run.wait()
        assert len(engine.names()) == 3
        Reaper(engine.url)
        nothing_is_left(engine)


def test_a_run_that_is_interrupted_twice_leaves_nothing(engine: Engine, tmp_path: Path) -> None:
    with run_with_machines(engine, tmp_path, tasks=3, up=3) as run:
        assert run.stderr is not None
        run.send_signal(signal.SIGTERM)
        said = b""
        while b"once more to stop at once" not in said:
            said += run.stderr.readline()
        run.send_signal(signal.SIGTERM)
        said += run.stderr.read()
        assert run.wait(timeout=60) == 143
        assert b"Traceback" not in said, said.decode()
        nothing_is_left(engine)


def machines_in(folder: Path) -> list[Path]:
    return list(folder.glob("nanoeval-machine-*"))


def processes_of(folder: Path) -> list[str]:
    """The command lines of the processes, of whomever, that have `folder` for temporary files."""
    found, wanted = [], f"TMPDIR={folder}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = process.joinpath("environ").read_bytes().split(b"\0")
            if any(one.startswith(wanted) for one in variables):
                found.append(process.joinpath("cmdline").read_text())
    return found


def test_local_machines_go_with_their_driver(tmp_path: Path) -> None:
    with run_with_machines(None, tmp_path, tasks=3, up=3) as run:
        assert len(machines_in(tmp_path)) == 3
        run.kill()
        run.wait()
        wait_for(lambda: machines_in(tmp_path) == [], "folders of machines", LATE)
        wait_for(lambda: processes_of(tmp_path) == [], "processes", LATE)


def test_nobody_waits_for_a_program_whose_machines_are_gone(tmp_path: Path) -> None:
    """Also where what ran in a machine was closed in its midst, as solvers are at their result."""
    words = ("validate", "examples/fix_the_test.py", "roman", "solver=MockAgentSolver")
    with (tmp_path / "said").open("w") as said:  # a pipe would be waited for
        done = subprocess.run(
            [sys.executable, "-m", "nanoeval", *words, "solver.runtime=LocalRuntime"],
            cwd=ROOT,
            env=environment(tmp_path, TMPDIR=str(tmp_path)),
            stdout=said,
            stderr=said,
            check=False,
        )
    assert done.returncode == 0, (tmp_path / "said").read_text()
    assert machines_in(tmp_path) == []
    assert processes_of(tmp_path) == []  # the one that would remove them has nothing left to do


def test_what_a_program_leaves_is_removed_and_is_no_leak_of_its_own(tmp_path: Path) -> None:
    left = tmp_path / "nanoeval-machine-left"
    left.mkdir()
    code = "import sys; from nanoeval_computer._reaper.watch import reaper_for\n"
    code += "reaper_for('').watch('folder', sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, left],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    wait_for(lambda: not left.exists(), "the folder goes", LATE)
