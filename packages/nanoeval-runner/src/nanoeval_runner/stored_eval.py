"""What a state file says of an eval: its arguments, as text, and where its classes are found.

The first tells whether it is the same eval, the second lets another process go on with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import runpy
import sys
import types
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import chz
from nanoeval_core.errors import StateError
from nanoeval_core.recorder_protocol import measured_model
from nanoeval_core.redaction import REDACTED, Redactor, is_secret_name

if TYPE_CHECKING:  # `nanoeval ls` reads state files, and needs no eval's class
    from nanoeval_core.eval import Eval

__all__ = [
    "changes",
    "describe_arguments",
    "model_in",
]

_TEXT = re.compile(r"'([^'\\]+)'")  # a repr that needs no unescaping
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def describe_arguments(eval: Eval[Any, Any]) -> str:
    """Return every argument of `eval` by its path, as a JSON object of texts with sorted keys.

    Without secrets: a key that was rotated between two runs makes no other eval.
    """
    found, redactor = {}, Redactor()
    for path, value in chz.traverse(eval):
        if not path or chz.is_chz(value):
            # A script's classes are in `__main__`, or `__mp_main__` where another process
            # imported it.
            module = type(value).__module__.replace("__mp_main__", "__main__")
            found[path] = f"{module}.{type(value).__qualname__}"
        elif value is not None and is_secret_name(path.rpartition(".")[2]):
            found[path] = REDACTED
        else:
            found[path] = redactor.keys(_ADDRESS.sub("", repr(value)))
    return json.dumps(found, sort_keys=True)


def model_in(described: str) -> str | None:
    """Return the model that is measured: the eval's `model` or `model_name`, or its solver's."""
    arguments = {}
    for path, text in json.loads(described).items():
        match = _TEXT.fullmatch(text)
        arguments[path] = match and match[1]
    return measured_model(arguments)


def changes(before: str, now: str) -> list[str]:
    """Return what differs between two descriptions, a line each."""
    old, new = json.loads(before), json.loads(now)
    return [
        f"{path or 'class'}: was {old.get(path, 'absent')}, is {new.get(path, 'absent')}"
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]


# --- where its classes are found


def describe_origin() -> str:
    """Return the main module, folder and import path of this process, as a JSON text."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    file = getattr(main, "__file__", None)
    return json.dumps(
        {
            "module": spec.name if spec is not None else None,
            "file": os.path.abspath(file) if file else None,
            "cwd": os.getcwd(),
            "path": list(filter(None, sys.path)),
        }
    )


def main_is_importable() -> bool:
    """Return whether another process can import what this one's main module defines.

    Not so in notebooks and interactive sessions, whose classes must travel by value.
    """
    main = sys.modules.get("__main__")
    if main is None or main.__spec__ is not None:
        return True
    return os.path.isfile(getattr(main, "__file__", None) or "")


@contextlib.contextmanager
def hidden_main() -> Iterator[None]:
    """Keep a main module that is no file (`python < script`) from being run in new processes."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if main is None or file is None or main_is_importable():
        yield
        return
    del main.__file__
    try:
        yield
    finally:
        main.__file__ = file


def restore_origin(origin: str) -> None:
    """Make what was importable in the process that wrote `origin` importable here.

    Classes of a script live in a module called `__main__`. The script is imported under the name
    `__mp_main__`, as process pools do, so that its `if __name__ == "__main__"` does not run, and
    stands in for `__main__`.

    Raises:
        StateError: the script cannot be found or imported.
    """
    where: dict[str, Any] = json.loads(origin)
    for entry in [*where.get("path", []), where.get("cwd") or ""]:
        if entry and entry not in sys.path:
            sys.path.append(entry)
    module, file = where.get("module"), where.get("file")
    here = json.loads(describe_origin())
    is_here = here["module"] == module if module else here["file"] == file
    if is_here or not (module or file):
        return
    try:
        if module:
            with warnings.catch_warnings():
                # That its package is imported already is no surprise: the eval's pickle names it.
                warnings.simplefilter("ignore", RuntimeWarning)
                names = runpy.run_module(module, run_name="__mp_main__", alter_sys=True)
        else:
            names = runpy.run_path(str(file), run_name="__mp_main__")
    except Exception as error:
        raise StateError(
            f"the eval was defined in {module or file}, which cannot be imported here "
            f"({type(error).__name__}: {error}): restore it, or resume from the script itself by "
            "running it again with the same run_set_id"
        ) from error
    main = types.ModuleType("__mp_main__")
    main.__dict__.update(names, __name__="__mp_main__", __spec__=None)
    existing = sys.modules["__main__"]
    for name, value in names.items():
        # Pickles say `__main__.MyEval`; this process's own main keeps what it already has.
        if not hasattr(existing, name):
            setattr(existing, name, value)
    sys.modules["__mp_main__"] = main
