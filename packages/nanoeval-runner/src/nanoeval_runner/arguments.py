"""An eval's arguments as text: what identifies it in a run set, and what changed since."""

from __future__ import annotations

import json
import re
from typing import Any

import chz
from nanoeval_core.eval import Eval
from nanoeval_core.redaction import REDACTED, Redactor, is_secret_name

__all__ = [
    "changes",
    "describe_arguments",
    "model_in",
]

_TEXT = re.compile(r"'([^'\\]+)'")  # a repr that needs no unescaping
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def describe_arguments(eval: Eval[Any, Any]) -> str:
    """Every argument of `eval` by its path, as a JSON object of texts with sorted keys.

    Without secrets: a key that was rotated between two runs makes no other eval.
    """
    found, redactor = {"": _type_name(eval)}, Redactor()
    for path, value in chz.traverse(eval):
        if path and chz.is_chz(value):
            found[path] = _type_name(value)
        elif path:
            found[path] = redactor.keys(_ADDRESS.sub("", repr(value)))
    return json.dumps(_without_secrets(found), sort_keys=True)


def _without_secrets(described: dict[str, str]) -> dict[str, str]:
    return {
        path: REDACTED if is_secret_name(path.rpartition(".")[2]) and text != "None" else text
        for path, text in described.items()
    }


def _type_name(value: object) -> str:
    # A script's classes are in `__main__`, or `__mp_main__` where another process imported it.
    module = type(value).__module__.replace("__mp_main__", "__main__")
    return f"{module}.{type(value).__qualname__}"


def model_in(described: str) -> str | None:
    """The model that is measured: the eval's own `model` or `model_name`, or its solver's."""
    found: list[tuple[int, str]] = []
    for path, value in json.loads(described).items():
        *parents, name = path.split(".")
        text = _TEXT.fullmatch(value)
        # A grader may ask a model too: that is not the one that is measured.
        if text is not None and name in ("model", "model_name") and "grader" not in parents:
            found.append((len(parents), text[1]))
    return min(found, default=(0, None))[1]


def changes(before: str, now: str) -> list[str]:
    """What differs between two descriptions, a line each."""
    old, new = _without_secrets(json.loads(before)), _without_secrets(json.loads(now))
    return [
        f"{path or 'class'}: was {old.get(path, 'absent')}, is {new.get(path, 'absent')}"
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]
