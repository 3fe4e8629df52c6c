"""How a recorder is found by its name: the entry-point group `nanoeval.recorders`."""

from __future__ import annotations

import importlib
from typing import Any

import chz

from nanoeval_core.errors import RecorderError
from nanoeval_core.recording import DummyRecorderConfig

__all__ = ["ENTRY_POINT_GROUP", "RecorderByName", "find_recorder", "recorder_names"]

ENTRY_POINT_GROUP = "nanoeval.recorders"
# Ours are known without reading the metadata of every installed package.
_OURS = {
    "evallib": ("nanoeval_recorder.evallib", "evallib_recorder"),
    "json": ("nanoeval_recorder.json_lines", "json_recorder"),
}


def recorder_names() -> list[str]:
    """Return the names that `find_recorder` knows, sorted."""
    from importlib.metadata import entry_points  # noqa: PLC0415  slow: reads every package

    return sorted({"dummy", *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))})


def find_recorder(name: str) -> Any:
    """Return what `name` stands for: a callable that gives a `RecorderConfig`.

    Raises:
        RecorderError: no installed package registers that name.
    """
    if name == "dummy":
        return DummyRecorderConfig
    if name in _OURS:
        module, function = _OURS[name]
        try:
            return getattr(importlib.import_module(module), function)
        except ModuleNotFoundError as error:
            if error.name != "nanoeval_recorder":
                raise
            raise RecorderError(
                f"no recorder is called {name!r}: install it with "
                "`pip install nanoeval-recorder`, or set RunnerArgs.recorder"
            ) from error
    from importlib.metadata import entry_points  # noqa: PLC0415  slow: reads every package

    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        return point.load()
    raise RecorderError(
        f"no recorder is called {name!r}: choose one of {', '.join(recorder_names())}, or name it "
        "as `module:function`"
    )


class RecorderByName(chz.factories.standard):
    """Lets `runner.recorder=NAME` on the command line name an entry point or `module:function`."""

    def from_string(self, factory: str) -> Any:
        if ":" in factory or factory == "None":
            return super().from_string(factory)
        try:
            return find_recorder(factory)
        except RecorderError as error:
            raise chz.factories.MetaFromString(str(error)) from None
