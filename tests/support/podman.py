"""Podman, with storage of its own and images made here."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path

from nanoeval_computer._reaper.process import this_host

IMAGE = "localhost/nanoeval-test:1"
PYTHON_IMAGE = "localhost/nanoeval-python:1"
PACKAGES = ("asyncio", "collections", "concurrent", "encodings", "importlib", "json", "logging")
PACKAGES += ("re", "unittest", "urllib")
EXTENSIONS = ("_bisect", "_datetime", "_json", "_opcode", "_random", "_struct", "binascii", "math")
EXTENSIONS += ("_heapq", "_posixsubprocess", "_socket", "_statistics", "array", "fcntl", "select")
INSTALL = (
    "apt-get install podman runc netavark aardvark-dns catatonit iptables busybox-static "
    "bash-static"
)
CONTAINERS_CONF = """
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=1024:1024"]
[network]
network_config_dir = "{folder}/networks"
"""
STORAGE_CONF = """
[storage]
driver = "vfs"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""


class Engine:
    """A Podman service that answers at `url`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/podman.sock"
        self.image = IMAGE
        (folder / "containers.conf").write_text(CONTAINERS_CONF.format(folder=folder))
        (folder / "storage.conf").write_text(STORAGE_CONF.format(folder=folder))
        (folder / "networks").mkdir()
        self.environment = {
            **os.environ,
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }
        self._service: subprocess.Popen[bytes] | None = None

    def podman(self, *arguments: str, stdin: int | None = None) -> str:
        done = subprocess.run(
            ["podman", *arguments],
            env=self.environment,
            stdin=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        self._service = subprocess.Popen(
            ["podman", "system", "service", "--time=0", self.url],
            cwd=self.folder,  # it leaves a file `oom` where it is
            env=self.environment,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not Path(self.url.removeprefix("unix://")).is_socket():
            assert time.monotonic() < deadline, "podman system service does not start"
            assert self._service.poll() is None, "podman system service ended"
            time.sleep(0.05)

    def stop(self) -> None:
        if self._service is not None:
            self._service.kill()
            self._service.wait()
            self._service = None
            Path(self.url.removeprefix("unix://")).unlink(missing_ok=True)

    def architecture(self) -> str:
        return self.podman("info", "--format", "{{.Host.Arch}}").strip()

    @contextlib.contextmanager
    def container(self, *arguments: str) -> Iterator[str]:
        """Run a container to its end, and remove it."""
        name = f"test-{time.monotonic_ns()}"
        self.podman("run", "--name", name, *arguments)
        try:
            yield name
        finally:
            self.podman("rm", "-f", "-t", "0", name)

    def import_empty_image(self, name: str, architecture: str) -> None:
        tar = self.folder / "empty.tar"
        subprocess.run(["tar", "-cf", str(tar), "-T", "/dev/null"], check=True)
        self.podman("import", "--arch", architecture, str(tar), name)

    def left_by(self, labels: dict[str, str]) -> str:
        """A container as a run of this host leaves it."""
        name = f"left-{time.monotonic_ns()}"
        options = [f"--label={key}={value}" for key, value in labels.items()]
        host = f"--label=nanoeval.host={this_host()}"
        self.podman("create", "--name", name, "--network=none", host, *options, IMAGE, "true")
        return name

    def names(self) -> list[str]:
        """All that runs have made: containers, networks and volumes."""
        found = []
        for command in (["ps", "-a"], ["network", "ls"], ["volume", "ls"]):
            answer = self.podman(*command, "--filter", "label=nanoeval.host", "--format", "json")
            for thing in json.loads(answer or "[]"):
                names = thing.get("Names") or [thing.get("name") or thing.get("Name")]
                found += names
        return found


def import_image(engine: Engine) -> None:
    """Import `IMAGE`: busybox and bash, 3 MB."""
    root = engine.folder / "image"
    for part in ("bin", "tmp", "root", "etc", "var"):
        (root / part).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, root / "bin/busybox")
    shutil.copy(static_bash(), root / "bin/bash")
    for applet in subprocess.run(
        [busybox, "--list"], capture_output=True, text=True, check=True
    ).stdout.split():
        with contextlib.suppress(FileExistsError):
            (root / "bin" / applet).symlink_to("busybox")
    _import(engine, root, IMAGE)


def import_python_image(engine: Engine) -> str:
    """Import `PYTHON_IMAGE`: what `IMAGE` has, and as much of this Python as small tests need."""
    root = engine.folder / "image"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    binary = Path(sys.base_prefix, "bin", version)
    library = Path(sys.base_prefix, "lib", version)
    files = {binary, *library.glob("*.py")}
    for package in PACKAGES:
        files |= set((library / package).rglob("*.py"))
    files |= {Path(cache_from_source(str(file))) for file in files if file.suffix == ".py"}
    for name in EXTENSIONS:
        files |= set((library / "lib-dynload").glob(f"{name}.*.so"))
    for file in [file for file in files if file == binary or file.suffix == ".so"]:
        files |= shared_libraries(file)
    for file in files:
        if file.exists():
            inside = root / file.relative_to("/")
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, inside)
    (root / "bin/python3").symlink_to(binary)
    _import(engine, root, PYTHON_IMAGE)
    return PYTHON_IMAGE


def shared_libraries(file: Path) -> set[Path]:
    """The shared libraries that a program or extension is loaded with, the loader included."""
    shown = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=True).stdout
    return {Path(path) for path in re.findall(r"(/\S+) \(0x", shown)}


def _import(engine: Engine, root: Path, name: str) -> None:
    tar = subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE)
    assert tar.stdout is not None
    command = 'CMD ["sleep", "600"]'  # of side containers
    engine.podman("import", "--change", command, "-", name, stdin=tar.stdout.fileno())
    tar.stdout.close()
    assert tar.wait() == 0


def static_bash() -> str:
    for path in ("/bin/bash-static", "/usr/bin/bash-static"):
        if Path(path).exists():
            return path
    raise FileNotFoundError("bash-static")
