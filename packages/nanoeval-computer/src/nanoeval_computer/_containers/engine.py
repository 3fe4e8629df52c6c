"""A container engine, over the Docker API: where it is, and how its failures are told."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import fcntl
import hashlib
import http.client
import os
import random
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nanoeval_core import ConfigError, RolloutSystemError

from nanoeval_computer._inside.shell import Process
from nanoeval_computer._reaper.process import EngineAPI

if TYPE_CHECKING:
    import aiodocker

PullPolicy = Literal["missing", "never", "always"]

UNREACHABLE = 900
"""The status of aiodocker's errors where the engine gave no answer."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


def find_engine(url: str | None = None) -> str:
    """Return the URL of the engine: the one given, else `DOCKER_HOST`, else a socket that is there.

    Raises:
        ConfigError: no engine is running.
    """
    url = url or os.environ.get("DOCKER_HOST")
    if url:
        if not url.startswith(("unix://", "tcp://", "http://", "https://")):
            raise ConfigError(
                f"engine={url!r}: give the URL of its socket, such as "
                "unix:///run/docker.sock, or tcp://host:port"
            )
        return url
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    sockets = [
        "/var/run/docker.sock",
        f"{runtime_dir}/docker.sock",
        os.path.expanduser("~/.docker/run/docker.sock"),
        f"{runtime_dir}/podman/podman.sock",
        "/run/podman/podman.sock",
    ]
    for socket in sockets:
        if Path(socket).is_socket():
            return f"unix://{socket}"
    raise ConfigError(
        "no container engine: none of " + ", ".join(sockets) + " is there. Start Docker, or "
        "`podman system service --time=0`, or name its URL in DOCKER_HOST or in the runtime's "
        "field engine"
    )


@contextlib.contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Turn failures of the engine into a `RolloutSystemError` that says what was being done."""
    import aiodocker  # noqa: PLC0415  only runs with containers need it
    import aiohttp  # noqa: PLC0415

    try:
        yield
    except (
        aiodocker.DockerError,
        aiohttp.ClientError,
        http.client.HTTPException,
        OSError,
    ) as error:
        raise RolloutSystemError(f"the container engine failed at {doing}: {error}") from error


@contextlib.asynccontextmanager
async def connect(url: str, about: dict[str, str]) -> AsyncIterator[aiodocker.Docker]:
    """Give a client of the engine at `url`.

    Args:
        about: what the engine says of itself in headers; filled when it is empty.
    """
    import aiodocker  # noqa: PLC0415

    if not about:
        with engine_errors(f"reaching it at {url}"):
            about.update(await asyncio.to_thread(EngineAPI(url).ping))
    version = about.get("Api-Version")
    # No limit on a request: pulls and waits take what they take; callers have theirs.
    async with aiodocker.Docker(
        url=url, api_version=f"v{version}" if version else "auto"
    ) as docker:
        yield docker


class ExecProcess:
    """A process that was started in a container by an exec."""

    def __init__(self, execution: Any, stream: Any) -> None:
        self._execution = execution
        self._stream = stream

    @classmethod
    async def start(
        cls, docker: aiodocker.Docker, container: str, argv: list[str], environment: dict[str, str]
    ) -> Process:
        execution = await docker.containers.container(container).exec(
            argv, stdin=True, stdout=True, stderr=True, environment=environment
        )
        stream = execution.start(detach=False)
        process = cls(execution, stream)
        try:
            await stream.__aenter__()  # sends the request
        except BaseException:
            await process.close()
            raise
        return process

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.write_in(data)
        except (AssertionError, RuntimeError) as error:  # aiodocker's words for a closed stream
            raise ConnectionError("the process has ended") from error

    async def read(self) -> bytes:
        import aiohttp  # noqa: PLC0415

        try:
            while True:
                message = await self._stream.read_out()
                if message is None:
                    return b""
                if message.data:
                    data: bytes = message.data
                    return data
        except (aiohttp.ClientError, OSError):  # the engine went away: the end of the output
            return b""

    async def wait(self) -> int | None:
        with engine_errors("asking how a process ended"):
            exit_code: int | None = (await self._execution.inspect())["ExitCode"]
            return exit_code

    async def close(self) -> None:
        with contextlib.suppress(AssertionError):  # aiodocker's word for: the connection is gone
            await self._stream.close()


async def prepare_image(
    docker: aiodocker.Docker, name: str, pull: PullPolicy, of_engine: str = ""
) -> dict[str, Any]:
    """Return what the engine says of an image, after pulling it if `pull` says so.

    One process of this host pulls an image, the others wait for it.

    Args:
        of_engine: the architecture that the engine runs on, where it is known.

    Raises:
        ConfigError: it is missing and cannot be had, or is for another architecture.
    """
    import aiodocker  # noqa: PLC0415

    image = None if pull == "always" else await _inspect(docker, name)
    if image is None:
        if pull == "never":
            raise ConfigError(
                f"image {name!r} is missing, and pull='never': build or pull it first"
            )
        key = hashlib.sha256(name.encode()).hexdigest()[:16]
        lock = await asyncio.to_thread(_locked, _lock_folder() / f"pull-{key}")
        try:
            image = await _inspect(docker, name) if pull == "missing" else None
            if image is None:
                try:
                    await docker.images.pull(name)
                except aiodocker.DockerError as error:
                    raise ConfigError(
                        f"image {name!r} is missing and cannot be pulled: {error.message}"
                    ) from error
                image = await _inspect(docker, name)
        finally:
            os.close(lock)
    if image is None:
        raise ConfigError(f"image {name!r} was pulled, but the engine does not know it")
    of_image = image.get("Architecture", "")
    normal = _ARCHITECTURES.get
    if of_engine and of_image and normal(of_engine, of_engine) != normal(of_image, of_image):
        raise ConfigError(
            f"image {name!r} is for {of_image}, and the engine runs on {of_engine}: use an image "
            "for that architecture"
        )
    return image


async def _inspect(docker: aiodocker.Docker, name: str) -> dict[str, Any] | None:
    import aiodocker  # noqa: PLC0415

    try:
        return await docker.images.inspect(name)
    except aiodocker.DockerError as error:
        if error.status == 404:
            return None
        raise


def _lock_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"nanoeval-engine-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _locked(path: Path, *, wait: bool = True) -> int:
    """Return a file descriptor that holds the lock on `path` until it is closed."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.asynccontextmanager
async def turn_to_start(max_starting: int) -> AsyncIterator[None]:
    """Wait until fewer than `max_starting` machines are being started by processes of this host."""
    # A thread of its own: it is not taken from other work, and ends when the turn is there.
    waiting = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="nanoeval-starts")
    turn = waiting.submit(_take_turn, max_starting)
    waiting.shutdown(wait=False)
    try:
        descriptor = await asyncio.wrap_future(turn)
    except asyncio.CancelledError:
        turn.add_done_callback(_give_turn_back)
        raise
    try:
        yield
    finally:
        os.close(descriptor)


def _give_turn_back(turn: concurrent.futures.Future[int]) -> None:
    if not turn.cancelled():
        os.close(turn.result())


def _take_turn(max_starting: int) -> int:
    folder = _lock_folder()
    for number in range(max_starting):
        with contextlib.suppress(BlockingIOError):
            return _locked(folder / f"start-{number}", wait=False)
    return _locked(folder / f"start-{random.randrange(max_starting)}")
