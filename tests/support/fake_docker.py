"""A Docker API whose containers are processes of this host, with the habits that Docker has.

An exec's output ends when nobody holds it open any more, and not with the exec's process. A program
that is not there is a 400 at the start. What is wrong can be put into `answers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import struct
import subprocess
import tempfile
import threading
import urllib.parse
from typing import Any, Self

from nanoeval_computer._reaper.process import end_processes

MARK = "NANOEVAL_FAKE_CONTAINER"


class FakeDocker:
    """Serves at `url`, in a thread.

    Attributes:
        requests: method and path of each request.
        answers: (pattern of method and path, status, message) used once each, first match first.
        broken: a pattern of requests whose connections end without an answer.
        images: name → what inspecting it shows.
        containers: name → its labels, configuration and state.
    """

    def __init__(self) -> None:
        # Short: the path of a socket has 107 bytes.
        self._folder = tempfile.TemporaryDirectory(prefix="docker-")
        self.url = f"unix://{self._folder.name}/docker.sock"
        self.requests: list[str] = []
        self.answers: list[tuple[str, int, str]] = []
        self.broken = ""
        self.images: dict[str, dict[str, Any]] = {"image:1": {"Id": "sha256:1"}}
        self.containers: dict[str, dict[str, Any]] = {}
        self.networks: dict[str, dict[str, Any]] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self._execs: dict[str, dict[str, Any]] = {}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        for name in list(self.containers):
            self.end(name)
        self._folder.cleanup()

    def end(self, name: str, *, out_of_memory: bool = False) -> None:
        """End a container's processes, as the kernel or its own doing ends them."""
        container = self.containers[name]
        container["State"].update(Running=False, ExitCode=137, OOMKilled=out_of_memory)
        end_processes(f"{MARK}={name}")
        container["process"].kill()
        container["process"].wait()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_unix_server(self._connection, self.url.removeprefix("unix://"))
        self._ready.set()
        await self._stop.wait()
        for listening in server.sockets:
            self._loop.remove_reader(listening.fileno())
        for _ in range(4):  # asyncio leaks what it is just accepting when the server is closed
            await asyncio.sleep(0)
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                method, target, _ = line.decode().split()
                length = 0
                while (header := await reader.readline()).strip():
                    name, _, value = header.decode().partition(":")
                    if name.lower() == "content-length":
                        length = int(value)
                body = json.loads(await reader.readexactly(length)) if length else {}
                url = urllib.parse.urlsplit(target)
                path = re.sub(r"^/v1\.\d+", "", url.path)
                self.requests.append(f"{method} {path}")
                if self.broken and re.fullmatch(self.broken, f"{method} {path}"):
                    return
                started = re.fullmatch(r"/exec/(\w+)/start", path)
                status, answer = self._answer(
                    method, path, dict(urllib.parse.parse_qsl(url.query)), body
                )
                if started and status == 200:
                    await self._stream(self._execs[started[1]], reader, writer)
                    return
                content = b"" if answer is None else json.dumps(answer).encode()
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
                    "Api-Version: 1.46\r\nServer: Docker/27.0\r\n"
                    f"Content-Length: {len(content)}\r\n\r\n".encode()
                    + content
                )
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _answer(
        self, method: str, path: str, query: dict[str, str], body: dict[str, Any]
    ) -> tuple[int, Any]:
        for number, (pattern, status, message) in enumerate(self.answers):
            if re.fullmatch(pattern, f"{method} {path}"):
                del self.answers[number]
                return status, {"message": message}
        if path == "/_ping":
            return 200, None
        if path == "/version":
            return 200, {"Version": "27.0", "ApiVersion": "1.46", "Arch": "amd64"}
        if path == "/info":
            return 200, {"MemoryLimit": True, "PidsLimit": False}
        kind, _, rest = path.strip("/").partition("/")
        return getattr(self, f"_{kind}")(method, rest, query, body)  # type: ignore[no-any-return]

    def _images(self, method: str, rest: str, query: Any, body: Any) -> tuple[int, Any]:
        if rest == "create":
            return 404, {"message": f"pull access denied for {query['fromImage']}"}
        name = rest.removesuffix("/json")
        shown = self.images.get(name)
        return (200, shown) if shown else (404, {"message": f"No such image: {name}"})

    def _containers(self, method: str, rest: str, query: Any, body: Any) -> tuple[int, Any]:
        if rest == "json":
            listed = self.containers.items()
            return 200, [{"Names": [f"/{n}"], "Labels": c["Config"]["Labels"]} for n, c in listed]
        if rest == "create":
            self.containers[query["name"]] = {
                "Config": body,
                "State": {"Running": False, "ExitCode": 0, "OOMKilled": False},
                "NetworkSettings": {"Networks": {body["HostConfig"].get("NetworkMode", ""): {}}},
            }
            return 201, {"Id": query["name"]}
        name, _, action = rest.partition("/")
        if name not in self.containers:
            return 404, {"message": f"No such container: {name}"}
        container = self.containers[name]
        if method == "DELETE":
            if container["State"]["Running"]:
                self.end(name)
            del self.containers[name]
            return 204, None
        if action == "json":
            return 200, {k: v for k, v in container.items() if k != "process"}
        if action == "start":
            return self._start(name, container)
        if action == "exec":
            if not container["State"]["Running"]:
                return 409, {"message": f"container {name} is not running"}
            number = f"e{len(self._execs)}"
            self._execs[number] = {"container": name, **body}
            return 201, {"Id": number}
        raise AssertionError(f"{method} /containers/{rest}")

    def _start(self, name: str, container: dict[str, Any]) -> tuple[int, Any]:
        argv = [*container["Config"].get("Entrypoint", []), *container["Config"].get("Cmd", [])]
        try:
            container["process"] = subprocess.Popen(
                argv, env={"PATH": os.defpath, MARK: name}, start_new_session=True
            )
        except FileNotFoundError:
            return 400, {"message": f"exec: {argv[0]!r}: executable file not found in $PATH"}
        container["State"]["Running"] = True
        return 204, None

    def _exec(self, method: str, rest: str, query: Any, body: Any) -> tuple[int, Any]:
        number, _, action = rest.partition("/")
        execution = self._execs[number]
        if action == "json":
            shown = {"ProcessConfig": {"tty": False}, "ExitCode": execution.get("ExitCode")}
            return 200, shown
        return 200, None

    async def _stream(
        self,
        execution: dict[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        writer.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        given = dict(entry.partition("=")[::2] for entry in execution.get("Env") or [])
        process = await asyncio.create_subprocess_exec(
            *execution["Cmd"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": os.defpath, MARK: execution["container"], **given},
            start_new_session=True,
        )
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        async def feed() -> None:
            while data := await reader.read(65536):
                stdin.write(data)
                await stdin.drain()
            stdin.close()

        feeding = asyncio.ensure_future(feed())
        try:
            while data := await stdout.read(65536):
                writer.write(struct.pack(">BxxxL", 1, len(data)) + data)
                await writer.drain()
            code = await process.wait()
            execution["ExitCode"] = code if code >= 0 else 128 - code
        finally:
            feeding.cancel()
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)

    def _networks(self, method: str, rest: str, query: Any, body: Any) -> tuple[int, Any]:
        if rest == "create":
            self.networks[body["Name"]] = body
            return 201, {"Id": body["Name"]}
        if not rest:
            return 200, list(self.networks.values())
        name, _, action = rest.partition("/")
        if action:
            networks = self.containers[body["Container"]]["NetworkSettings"]["Networks"]
            if action == "connect":
                networks[name] = {}
            else:
                networks.pop(name)
            return 200, None
        return (204, None) if self.networks.pop(name, None) else (404, {"message": "no such"})

    def _volumes(self, method: str, rest: str, query: Any, body: Any) -> tuple[int, Any]:
        if rest == "create":
            self.volumes[body["Name"]] = body
            return 201, body
        if not rest:
            return 200, {"Volumes": list(self.volumes.values())}
        return (204, None) if self.volumes.pop(rest, None) else (404, {"message": "no such"})
