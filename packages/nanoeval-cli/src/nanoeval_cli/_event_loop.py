"""Which event loop a command runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from nanoeval_core.errors import ConfigError

T = TypeVar("T")


def run_in_loop(main: Coroutine[Any, Any, T], loop: str = "asyncio") -> T:
    """Run a coroutine as `asyncio.run` does, on the event loop of that name.

    Raises:
        ConfigError: uvloop is not installed.
    """
    if loop == "asyncio":
        return asyncio.run(main)
    try:
        import uvloop  # noqa: PLC0415  an extra, for this option only
    except ModuleNotFoundError as error:
        main.close()
        raise ConfigError(
            'the uvloop event loop is not installed: `pip install "nanoeval-cli[uvloop]"`'
        ) from error
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
