"""What every place is where progress is shown."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TextIO

from nanoeval_runner._display.view import View
from nanoeval_runner.formats import encodable


class Surface(ABC):
    """Shows the same views again and again, then a table.

    Attributes:
        interval: seconds until the next `show`, at least.
        is_redrawn: whether a `show` takes the place of the one before.
    """

    interval: float
    is_redrawn = False

    @property
    def width(self) -> int | None:
        """How many columns there are; None where lines may be of any length."""
        return None

    @abstractmethod
    def show(self, views: Sequence[View]) -> None:
        """Show how far things are."""

    @abstractmethod
    def say(self, text: str) -> None:
        """Show a text once, where it will stay."""

    @abstractmethod
    def close(self) -> None:
        """Take down what `show` put up."""


def write_line(stream: TextIO, text: str) -> None:
    """Write and flush, in whatever encoding `stream` has."""
    stream.write(encodable(text, getattr(stream, "encoding", None)) + "\n")
    stream.flush()


def width_of(stream: TextIO) -> int | None:
    """How many columns a terminal has; None for what is no terminal."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None
