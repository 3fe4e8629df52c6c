"""Prepared requests that the executors of a run share, so that one of them loads the SDK for all.

Loading it takes a second or two of CPU, in each of a run's processes at the same time. The first
one to come prepares, the others wait for what it found. The key is not in the file: each process
puts in its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from pathlib import Path

from nanoeval_solvers._api.transport import Template

_KEY = "{key}"
_FROM_ENVIRONMENT = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS")


async def shared_template(
    folder: Path, *, url: str, model: str, key: str, prepare: Callable[[], Awaitable[Template]]
) -> Template:
    """What another process found in `folder`, or what `prepare` finds, put there for others.

    Args:
        url: where the request goes, path included.
        model: the model that it calls.
        key: the API key, which is not written.
    """
    said = [os.environ.get(name, "") for name in _FROM_ENVIRONMENT]
    parts = json.dumps([version("openai"), url, model, *said]).encode()
    path = folder / f"api-request-{hashlib.sha256(parts).hexdigest()[:16]}.json"
    async with _alone(path.with_suffix(".lock")):
        with contextlib.suppress(FileNotFoundError):
            return _with_key(json.loads(path.read_text("utf-8")), key)
        template = await prepare()
        keyless = {name: value.replace(key, _KEY) for name, value in template.headers.items()}
        if any(_KEY in value for value in keyless.values()):
            whole = path.with_suffix(f".{os.getpid()}")
            whole.touch(0o600)
            whole.write_text(json.dumps([template.url, keyless]), encoding="utf-8")
            whole.rename(path)
        return template


def _with_key(stored: tuple[str, dict[str, str]], key: str) -> Template:
    url, headers = stored
    return Template(url, {name: value.replace(_KEY, key) for name, value in headers.items()})


@contextlib.asynccontextmanager
async def _alone(path: Path) -> AsyncIterator[None]:
    """Hold the lock of `path`: a killed process gives it back."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    locked = asyncio.get_running_loop().run_in_executor(None, fcntl.flock, file, fcntl.LOCK_EX)
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
