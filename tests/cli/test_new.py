"""What `nanoeval new` writes: it runs, its test passes, and the commands in its docstring work."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_commands_in_a_terminal import piped
from tests.support.api_server import KEY, MODEL, serving
from tests.support.script import environment

pytestmark = pytest.mark.timeout(200)  # several processes a test

KINDS = ("mcq", "short_answer", "custom", "agent")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_runs_and_its_test_passes(kind: str, tmp_path: Path) -> None:
    assert piped("new", "my_eval", "--kind", kind, folder=tmp_path).returncode == 0
    done = piped("run", "my_eval.py", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert tested.returncode == 0, tested.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_the_commands_in_the_docstring_work(kind: str, tmp_path: Path) -> None:
    assert piped("new", "my_eval", f"kind={kind}", folder=tmp_path).returncode == 0
    doc = (tmp_path / "my_eval.py").read_text().split('"""')[1]
    commands = re.findall(r"nanoeval (run my_eval\.py[^`\n]*?)(?:`|  |\n)", doc)
    assert commands
    with serving() as server:
        for command in commands:
            words = shlex.split(command.replace("gpt-4o-mini", MODEL))
            done = piped(
                *words, folder=tmp_path, OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY=KEY
            )
            assert done.returncode == 0, f"{command}: {done.stderr}"


def test_a_kind_that_there_is_not(tmp_path: Path) -> None:
    done = piped("new", "my_eval", "--kind", "quiz", folder=tmp_path)
    assert done.returncode == 2
    assert all(kind in done.stderr for kind in KINDS)
