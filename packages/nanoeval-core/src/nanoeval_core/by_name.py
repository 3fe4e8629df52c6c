"""What other packages register in an entry-point group, and how a command line names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chz

from nanoeval_core.errors import NanoevalError

__all__ = ["ByName", "entry_point_names", "load_entry_point"]


def entry_point_names(group: str) -> list[str]:
    """Return the names that installed packages register in `group`, sorted."""
    from importlib.metadata import entry_points  # noqa: PLC0415  slow: reads every package

    return sorted({point.name for point in entry_points(group=group)})


def load_entry_point(group: str, name: str) -> Any | None:
    """Return what an installed package registers in `group` as `name`; None if none does."""
    from importlib.metadata import entry_points  # noqa: PLC0415  slow: reads every package

    return next((point.load() for point in entry_points(group=group, name=name)), None)


class ByName(chz.factories.standard):
    """Lets an argument such as `runner.recorder=NAME` take a name or `module:function`.

    The found thing's own options follow: `runner.executor=ray runner.executor.num_gpus=1`.

    Args:
        find: returns what makes the value of that name; raises `NanoevalError` for others.
        options: chz's, such as the `annotation` of the values.
    """

    def __init__(self, find: Callable[[str], Any], **options: Any) -> None:
        super().__init__(**options)
        self._find = find

    def from_string(self, factory: str) -> Any:
        """Return what makes the value that a command line calls `factory`."""
        if ":" in factory or factory == "None":
            return super().from_string(factory)
        try:
            return self._find(factory)
        except NanoevalError as error:
            raise chz.factories.MetaFromString(str(error)) from None
