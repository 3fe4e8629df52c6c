"""Running evals from a command: logging, open files, and which event loop."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

import click
from nanoeval_core.errors import ConfigError
from nanoeval_runner.setup import nanoeval_logging, raise_file_limit, run_main

T = TypeVar("T")
loop_option = click.option(
    "--loop",
    type=click.Choice(["asyncio", "uvloop"]),
    default="asyncio",
    help='The event loop; uvloop needs `pip install "nanoeval-cli[uvloop]"`.',
)


def run_in_loop(main: Coroutine[Any, Any, T], loop: str = "asyncio") -> T:
    """Run a command's coroutine on the event loop of that name, with logging set up.

    Raises:
        ConfigError: uvloop is not installed.
    """
    new_loop = None
    if loop == "uvloop":
        try:
            import uvloop  # noqa: PLC0415  an extra, for this option only
        except ModuleNotFoundError as error:
            main.close()
            raise ConfigError(
                'the uvloop event loop is not installed: `pip install "nanoeval-cli[uvloop]"`'
            ) from error
        new_loop = uvloop.new_event_loop
    with nanoeval_logging():
        raise_file_limit()
        return run_main(main, new_loop)
