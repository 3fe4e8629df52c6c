"""The examples, and what people do at a terminal, in real containers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.podman import Engine
from tests.support.script import ROOT, environment, run_python

pytestmark = pytest.mark.timeout(180)
MOCK = ("examples/fix_the_test.py", "solver=MockAgentSolver", "solver.runtime=ContainerRuntime")


def test_ctf_is_solved_over_an_internal_network(engine: Engine, tmp_path: Path) -> None:
    done = run_python(
        "-m", "examples.ctf", f"image={engine.image}", folder=tmp_path, DOCKER_HOST=engine.url
    )
    assert done.returncode == 0, done.stderr
    assert "mock-agent captured 1 of 1 flags." in done.stdout
    assert engine.names() == []


def test_tests_are_fixed_in_containers(engine: Engine, python_image: str, tmp_path: Path) -> None:
    done = run_python(
        *("-m", "examples.fix_the_test", f"image={python_image}", "runner.n_tasks=2"),
        folder=tmp_path,
        DOCKER_HOST=engine.url,
    )
    assert done.returncode == 0, done.stderr
    assert f"Machines are containers of {python_image}." in done.stdout
    assert "mock-agent solved 2 of 10." in done.stdout
    assert engine.names() == []


def test_a_person_works_in_a_container(engine: Engine, python_image: str, tmp_path: Path) -> None:
    """`nanoeval shell`: the human baseline, graded in a fresh container."""
    image = f"solver.runtime.image={python_image}"
    done = subprocess.run(
        [sys.executable, "-m", "nanoeval", "shell", *MOCK, image, "leap"],
        input="ls\npython3 -m unittest test_leap 2>&1 | tail -1\nexit\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(tmp_path, DOCKER_HOST=engine.url),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "$ leap.py\ntest_leap.py\n$ FAILED (failures=1)\n$ score 0\n" in done.stdout
    assert engine.names() == []


def test_kept_containers_are_named_and_cleaned(
    engine: Engine, python_image: str, tmp_path: Path
) -> None:
    image = f"solver.runtime.image={python_image}"
    words = ("run", *MOCK, image, "--keep-machines", "runner.n_tasks=1")
    kept = run_python("-m", "nanoeval", *words, folder=tmp_path, DOCKER_HOST=engine.url)
    assert kept.returncode == 0, kept.stderr
    assert "left behind" not in kept.stderr
    commands = re.findall(r"machine kept; enter it with: podman exec -it (\S+) bash", kept.stderr)
    assert sorted(commands) == sorted(engine.names())
    assert len(commands) == 2  # the agent's, and the one where it was graded
    assert engine.podman("exec", commands[0], "ls", "/root").split()[-1].startswith("test_")
    clean = ("-m", "nanoeval", "clean", "--containers")
    listed = run_python(*clean, "--dry-run", folder=tmp_path, DOCKER_HOST=engine.url)
    assert all(name in listed.stdout for name in commands)
    asked = run_python(*clean, folder=tmp_path, DOCKER_HOST=engine.url)
    assert "--yes removes them" in asked.stderr
    assert len(engine.names()) == 2
    cleaned = run_python(*clean, "--yes", folder=tmp_path, DOCKER_HOST=engine.url)
    assert cleaned.returncode == 0, cleaned.stderr
    assert "2 × container" in cleaned.stderr
    assert engine.names() == []
