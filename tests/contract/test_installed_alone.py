"""Each package, built to a wheel and installed into an empty environment, brings what it should.

Third-party wheels are fetched once into `.hatch/wheels`; after that the test needs no network.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.contract.workspace import ROOT, all_packages

WHEELS = ROOT / ".hatch/wheels"
# The packages that each one brings, transitively. One more is a decision, made here.
CORE = {"annotated-types", "chz", "cloudpickle", "nanoeval-core", "pydantic", "pydantic-core"} | {
    "platformdirs",
    "structlog",
    "typing-extensions",
    "typing-inspection",
}
NEVER_WITH_CORE = {"openai", "aiosqlite", "anyio", "multiprocess", "pandas", "numpy", "httpx"}
IMPORTS = {
    "nanoeval_core": "from nanoeval_core import *; import nanoeval_core.metrics.standard",
    "nanoeval_recorder": "import nanoeval_recorder.evallib, nanoeval_recorder.json_lines",
    "nanoeval_runner": "from nanoeval_runner import run, resume, validate",
    "nanoeval_solvers": "import nanoeval_solvers.mcq, nanoeval_solvers.mcq_api",
    "nanoeval": "from nanoeval import *; import nanoeval.setup, nanoeval.recorders",
    "nanoeval_monitor": "import nanoeval_monitor._cli",
}
BRINGS_NO = {
    "nanoeval_core": NEVER_WITH_CORE,
    "nanoeval_recorder": {"openai", "aiosqlite", "multiprocess", "nanoeval-runner"},
    "nanoeval_runner": {"openai", "pandas", "numpy", "nanoeval-solvers", "nanoeval-recorder"},
    "nanoeval_solvers": {"aiosqlite", "multiprocess", "pandas", "numpy", "nanoeval-runner"},
    "nanoeval": {"pandas", "numpy", "xllamacpp", "ray"},
    "nanoeval_monitor": {"openai", "pandas", "numpy", "ray", "nanoeval-solvers"},
}


def pip(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel of each of our packages."""
    if pip("--version").returncode != 0:
        pytest.skip("this environment has no pip to build and install wheels with")
    folder = tmp_path_factory.mktemp("built")
    done = pip(
        *("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder),
        *all_packages().values(),
    )
    assert done.returncode == 0, done.stderr
    return folder


def install(package: str, built: Path, environment: Path) -> Path:
    """Install `package` into a new empty environment and return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin/python"
    # --isolated: what this machine's pip is told to add must not decide what is installed.
    offline = ("install", "--isolated", "--quiet", "--no-index", "--no-compile")
    sources = ("--find-links", built, "--find-links", WHEELS)
    target = package.replace("_", "-")
    done = pip("--python", python, *offline, *sources, target)
    if done.returncode != 0:
        WHEELS.mkdir(parents=True, exist_ok=True)
        fetched = pip("download", "--quiet", "--find-links", built, "--dest", WHEELS, target)
        assert fetched.returncode == 0, f"no wheels of third parties: {fetched.stderr[-500:]}"
        for ours in WHEELS.glob("nanoeval*"):
            ours.unlink()
        done = pip("--python", python, *offline, *sources, target)
    assert done.returncode == 0, done.stderr
    return python


def installed(python: Path) -> set[str]:
    code = (
        "from importlib.metadata import distributions\n"
        "for d in distributions(): print(d.metadata['Name'].lower().replace('_', '-'))"
    )
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.timeout(600)  # the first time, wheels are fetched
@pytest.mark.parametrize("package", IMPORTS)
def test_installs_and_imports_alone(package: str, built: Path, tmp_path: Path) -> None:
    python = install(package, built, tmp_path / "env")
    came = installed(python)
    assert not came & BRINGS_NO[package]
    if package == "nanoeval_core":
        assert came == CORE
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [python, "-I", "-W", "error", "-c", IMPORTS[package]],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_every_package_is_covered() -> None:
    assert set(IMPORTS) <= set(all_packages())


@pytest.mark.timeout(300)
def test_wheels_carry_types_license_and_metadata(built: Path) -> None:
    wheels = sorted(built.glob("*.whl"))
    assert len(wheels) == len(all_packages())
    for wheel in wheels:
        names = zipfile.ZipFile(wheel).namelist()
        package = wheel.name.partition("-")[0]
        assert f"{package}/py.typed" in names
        assert any(name.endswith("/LICENSE") for name in names), f"{wheel.name}: no license"
        assert not any("tests/" in name for name in names)


@pytest.mark.parametrize("package", all_packages())
def test_every_package_has_the_license_of_the_project(package: str) -> None:
    assert (all_packages()[package] / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
