"""What a reply puts in `\\boxed{…}`. Pure."""

from __future__ import annotations

import re

_BRACE = re.compile(r"(?P<box>\\(?:boxed|fbox)\s*\{)|(?<!\\)[{}]")


def boxed_at(text: str) -> list[tuple[int, str]]:
    """Return where boxes of `text` begin, and their contents, in the order of their ends; one that
    never ends is left out."""
    found: list[tuple[int, str]] = []
    opened: list[re.Match[str] | None] = []  # the beginning of a box; None for a brace of no box
    for brace in _BRACE.finditer(text):
        if brace[0] != "}":
            opened.append(brace if brace["box"] else None)
        elif opened and (start := opened.pop()) is not None:
            found.append((start.start(), text[start.end() : brace.start()]))
    return found
