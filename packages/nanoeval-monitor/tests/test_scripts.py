"""What the page's modules compute, tested without a page by node's own test runner."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

NODE = shutil.which("node")
TESTS = sorted((Path(__file__).parent / "js").glob("*.test.js"))


@pytest.mark.skipif(NODE is None, reason="node is not here: apt-get install nodejs")
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_modules(file: Path, tmp_path: Path) -> None:
    assert NODE is not None
    version = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout
    # Newer ones see by themselves that a file is a module.
    flags = ["--experimental-default-type=module"] if int(version[1:3]) < 22 else []
    command = [NODE, *flags, "--test", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
