"""An engine for tests: a real Podman."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.podman import IMAGE, INSTALL, Engine, import_image, import_python_image


@pytest.fixture(scope="session")
def podman() -> Iterator[Engine]:
    tools = ["podman", "runc", "catatonit", "iptables", "busybox"]
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing or os.getuid() != 0:
        pytest.skip(f"{', '.join(missing) or 'root'} is not here: {INSTALL}, as root")
    with tempfile.TemporaryDirectory(prefix="nanoeval-podman-", ignore_cleanup_errors=True) as at:
        engine = Engine(Path(at))
        try:
            try:
                import_image(engine)
                engine.podman("run", "--rm", "--network=none", IMAGE, "true")
            except (AssertionError, OSError) as error:
                pytest.skip(f"a working podman is not here: {INSTALL}: {error}")
            engine.start()
            yield engine
        finally:
            engine.stop()
            subprocess.run(
                ["podman", "rm", "-fa", "-t", "0"],
                env=engine.environment,
                capture_output=True,
                check=False,
            )


@pytest.fixture(scope="session")
def python_image(podman: Engine) -> str:
    """An image that has this Python."""
    try:
        return import_python_image(podman)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no image can be made of this Python: {error}")


@pytest.fixture
def engine(podman: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Podman, as the engine that runtimes find; nothing of a test may be left in it."""
    monkeypatch.setenv("DOCKER_HOST", podman.url)
    return podman
