"""The example with a side container, in real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.podman import Engine
from tests.support.script import run_python


@pytest.mark.timeout(180)
def test_ctf_is_solved_over_an_internal_network(engine: Engine, tmp_path: Path) -> None:
    done = run_python(
        "-m", "examples.ctf", f"image={engine.image}", folder=tmp_path, DOCKER_HOST=engine.url
    )
    assert done.returncode == 0, done.stderr
    assert "mock-agent captured 1 of 1 flags." in done.stdout
    assert engine.names() == []
