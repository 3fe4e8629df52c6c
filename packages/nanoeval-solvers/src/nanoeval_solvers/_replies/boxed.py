"""What a reply puts in `\\boxed{…}`. Pure."""

from __future__ import annotations

import re

_BRACE = re.compile(r"(?P<box>\\(?:boxed|fbox)\s*\{)|(?<!\\)[{}]")


def boxed(text: str) -> list[str]:
    """The contents of the boxes of `text`, in the order in which they end; one that never ends is
    none."""
    found: list[str] = []
    opened: list[int | None] = []  # where a box begins; None for a brace of no box
    for brace in _BRACE.finditer(text):
        if brace[0] != "}":
            opened.append(brace.end() if brace["box"] else None)
        elif opened and (start := opened.pop()) is not None:
            found.append(text[start : brace.start()])
    return found
