"""Where calls go and with which headers, kept per user so that a run need not load the SDK.

The SDK decides it, and loading the SDK takes longer than all that is ours of a short run. What it
decided is kept in the user's cache folder under everything that it depends on: the SDK's version,
the endpoint, the model, and the variables that the SDK reads. The key is never kept. A client that
`make_client` makes of its own is asked each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from nanoeval_core.errors import ConfigError
from nanoeval_core.fs_paths import user_folder

from nanoeval_solvers._api.transport import Address

_KEPT = 64  # files
_KEY = "{key}"
_AUTHORIZATION = "authorization"


def folder() -> Path | None:
    """Return where addresses are kept; None where this user has no such place."""
    named = os.environ.get("NANOEVAL_CACHE_DIR")
    try:
        found = (Path(named) if named else user_folder("cache")) / "addresses"
        found.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (OSError, ConfigError):  # no home, or one that cannot be written
        return None
    return found if os.access(found, os.W_OK) else None


async def kept_address(
    url: str, *, model: str, key: str, prepare: Callable[[], Awaitable[Address]]
) -> Address:
    """Return what was kept for calls to `url`, or what `prepare` finds, which is kept then."""
    place = folder()
    if place is None or os.environ.get("OPENAI_CUSTOM_HEADERS"):  # which may hold secrets
        return await prepare()
    said = {name: value for name, value in os.environ.items() if name.startswith("OPENAI_")}
    read = {name: value for name, value in sorted(said.items()) if "KEY" not in name}
    read.pop("OPENAI_WEBHOOK_SECRET", None)
    system = [sys.version, platform.platform()]  # the SDK's headers tell both
    parts = json.dumps([version("openai"), system, url, model, read]).encode()
    path = place / f"{hashlib.sha256(parts).hexdigest()[:32]}.json"
    kept = _kept(path, key)
    if kept is not None:
        return kept
    # The executors of a run start together: one asks the SDK, the others wait for what it found.
    async with _alone(place / "lock"):
        return _kept(path, key) or _keep(path, key, await prepare())


def _keep(path: Path, key: str, address: Address) -> Address:
    """Keep an address without its key, if that is all that authenticates it, and return it."""
    if address.headers.get(_AUTHORIZATION) == f"Bearer {key}":
        keyless = {**address.headers, _AUTHORIZATION: f"Bearer {_KEY}"}
        whole = path.with_suffix(f".{os.getpid()}")
        whole.touch(0o600)
        whole.write_text(json.dumps([address.url, keyless]), encoding="utf-8")
        whole.rename(path)
        for old in sorted(path.parent.glob("*.json"), key=_used_at)[:-_KEPT]:
            old.unlink(missing_ok=True)  # local servers have another port each time
    return address


def _used_at(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def _kept(path: Path, key: str) -> Address | None:
    try:
        url, headers = json.loads(path.read_text("utf-8"))
        return Address(str(url), {**headers, _AUTHORIZATION: f"Bearer {key}"})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        path.unlink(missing_ok=True)  # not ours, or damaged: it is made again
        return None


@contextlib.asynccontextmanager
async def _alone(path: Path) -> AsyncIterator[None]:
    """Hold the lock of `path`: a killed process gives it back."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    # A thread of its own: those of the loop's pool may be needed to give the lock back.
    waiting = ThreadPoolExecutor(1)
    locked = asyncio.get_running_loop().run_in_executor(waiting, fcntl.flock, file, fcntl.LOCK_EX)
    waiting.shutdown(wait=False)
    try:
        await asyncio.shield(locked)
    except asyncio.CancelledError:
        # The thread still waits with the file: it must not find another one under its number.
        locked.add_done_callback(lambda _: os.close(file))
        raise
    try:
        yield
    finally:
        os.close(file)
