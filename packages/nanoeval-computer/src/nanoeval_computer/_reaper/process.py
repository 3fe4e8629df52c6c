"""Removes what a process of a run left behind: its containers, networks, volumes and folders.

Started by `Reaper` before the first machine of a process, in a session of its own. It is told each
name before the engine is, and again when it is gone. When its stdin ends, so has that process,
however that came about: what is left is removed, and for ten seconds also what appears late.

Run as a script, with the standard library alone: it must start in no time and outlive everything.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import itertools
import json
import os
import platform
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HOST = "nanoeval.host"
OWNER = "nanoeval.owner"
KEPT = "kept"
"""The owner of what is to stay until somebody removes it."""

LATE_SECONDS = 10.0
DYING_SECONDS = 20.0
"""How long what was killed may take to be gone: on a busy host it waits for a processor."""
_AGAIN_SECONDS = 0.25
_AT_ONCE = 8
_KINDS = {"container": "containers", "network": "networks", "volume": "volumes"}


def this_host() -> str:
    """Return what tells this host, or this container on it, from others."""
    try:
        return f"{platform.node()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def owner_of(pid: int) -> str | None:
    """Return what tells the process `pid` from any other, ever; None when it is gone."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # The start time is the 22nd field, and the second may hold spaces.
        start = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        if os.path.exists("/proc/self/stat"):
            return None
        boot = _output("sysctl", "-n", "kern.boottime")
        start = _output("ps", "-o", "lstart=", "-p", str(pid))
        if not start:
            return None
    return f"{pid}:{start}:{boot}".replace(" ", "_")


def owner_of_this_process() -> str:
    """Return what tells this process from any other, ever."""
    owner = owner_of(os.getpid())
    assert owner is not None  # noqa: S101  it runs
    return owner


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def is_alive(owner: str) -> bool:
    """Return whether the process that `owner_of` described still runs."""
    pid = owner.partition(":")[0]
    return pid.isdigit() and owner_of(int(pid)) == owner


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


class EngineAPI:
    """As much of the Docker API as removing takes, over a unix socket or TCP."""

    def __init__(self, url: str) -> None:
        self._url = urllib.parse.urlsplit(url)

    def ping(self) -> http.client.HTTPMessage:
        """Return the headers of what answers at once: the version of the API, and of what."""
        return self._request("GET", "/_ping")[0].headers

    def call(self, method: str, path: str) -> tuple[int, Any]:
        """Send a request and return its status and its JSON, None where it has none."""
        response, body = self._request(method, path)
        return response.status, json.loads(body) if body.strip()[:1] in (b"{", b"[") else None

    def _request(self, method: str, path: str) -> tuple[http.client.HTTPResponse, bytes]:
        connection: http.client.HTTPConnection
        if self._url.scheme == "unix":
            connection = _UnixConnection(self._url.path)
        elif os.environ.get("DOCKER_TLS_VERIFY") or self._url.scheme == "https":
            folder = Path(os.environ.get("DOCKER_CERT_PATH") or os.path.expanduser("~/.docker"))
            context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
            context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
            connection = http.client.HTTPSConnection(self._url.netloc, timeout=60, context=context)
        else:
            connection = http.client.HTTPConnection(self._url.netloc, timeout=60)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def left(self, *, kept: bool = False) -> list[tuple[str, str]]:
        """Return kind and name of what dead processes of this host left, or kept on purpose."""
        return [
            (kind, name)
            for kind, name, owner in self.owned()
            if (kept if owner == KEPT else not is_alive(owner))
        ]

    def owned(self) -> list[tuple[str, str, str]]:
        """Return kind, name and owner of all that runs on this host have made."""
        query = urllib.parse.urlencode(
            {"all": "true", "filters": json.dumps({"label": [f"{HOST}={this_host()}"]})}
        )
        found = []
        for kind, path in _KINDS.items():
            listing = "containers/json" if kind == "container" else path
            _, answer = self.call("GET", f"/{listing}?{query}")
            things = answer.get("Volumes") if isinstance(answer, dict) else answer
            for thing in things or []:
                labels = thing.get("Labels") or {}
                if labels.get(HOST) == this_host():
                    name = thing["Names"][0].lstrip("/") if "Names" in thing else thing["Name"]
                    found.append((kind, name, labels.get(OWNER, "")))
        return found

    def remove(self, kind: str, name: str) -> bool:
        """Remove something, and return whether it was there and is gone."""
        more = "?force=true&v=true" if kind == "container" else "?force=true"
        return self.call("DELETE", f"/{_KINDS[kind]}/{name}{more}")[0] < 300


def end_processes(variable: str) -> bool:
    """Kill the processes of this host that have `variable` in their environment.

    Returns whether none is left. Where there is no /proc, nothing can be found.
    """
    wanted = variable.encode()
    deadline = time.monotonic() + DYING_SECONDS
    while time.monotonic() < deadline:
        found = False
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (path / "environ").read_bytes().split(b"\0"):
                    found = True
                    os.kill(int(path.name), signal.SIGKILL)
            except OSError:  # gone, or another user's
                continue
        if not found:
            return True
        time.sleep(0.005)  # what was killed needs a processor to die
    return False


def remove_left(engine: EngineAPI | None, left: dict[str, str]) -> None:
    """Remove all of `left` (name → kind), also what appears late."""
    deadline = time.monotonic() + LATE_SECONDS
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while left:
            # Containers first: networks and volumes cannot go while they are in use.
            for kind in sorted(set(left.values())):
                names = [name for name in left if left[name] == kind]
                gone = pool.map(functools.partial(_remove, engine, kind), names)
                for name in itertools.compress(names, list(gone)):
                    del left[name]
            if not left or time.monotonic() > deadline:
                return
            time.sleep(_AGAIN_SECONDS)


def _remove(engine: EngineAPI | None, kind: str, name: str) -> bool:
    try:
        if kind != "folder":
            return engine is not None and engine.remove(kind, name)
        end_processes(f"NANOEVAL_MACHINE={name}")
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(name)
    except (OSError, http.client.HTTPException, ValueError):
        return False
    return True


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    url = sys.argv[1]
    engine = EngineAPI(url) if url else None
    if engine is not None:
        # Where the engine cannot be asked, the run that started this says so itself.
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            for kind, name in engine.left():
                engine.remove(kind, name)
    left: dict[str, str] = {}
    for line in sys.stdin:
        message = json.loads(line)
        if message["kind"]:
            left[message["name"]] = message["kind"]
        else:
            left.pop(message["name"], None)
    remove_left(engine, left)


if __name__ == "__main__":
    main()
