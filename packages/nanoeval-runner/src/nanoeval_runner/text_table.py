"""Tables as plain text: what logs, files and short runs need."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

__all__ = [
    "format_table",
    "text_width",
]

_STYLE = re.compile("\x1b" + r"\[[0-9;]*m")


def text_width(text: str) -> int:
    """Return the columns that a terminal gives to `text`, which may have styles in it."""
    if "\x1b" in text:
        text = _STYLE.sub("", text)
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def format_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: frozenset[str] = frozenset(),
    width: int | None = None,
) -> list[str]:
    """Return lines of aligned columns, or a list a row where those are wider than `width`.

    Columns that are empty in every row are left out.

    Args:
        header: the columns' names.
        rows: as many cells each.
        right: the names of columns to be aligned at the right.
        width: of the terminal; None without one.
    """
    kept = [i for i in range(len(header)) if any(row[i] for row in rows)]
    cells = [[row[i] for i in kept] for row in [header, *rows]]
    widths = [max(text_width(row[i]) for row in cells) for i in range(len(kept))]
    lines = []
    for row in cells:
        aligned = []
        for cell, room, name in zip(row, widths, cells[0], strict=True):
            space = " " * (room - text_width(cell))
            aligned.append(space + cell if name in right else cell + space)
        lines.append("  ".join(aligned).rstrip())
    if width is None or max(map(text_width, lines)) <= width:
        return lines
    names = max(map(text_width, header[1:]), default=0)
    listed = []
    for first, *others in rows:
        listed.append(first)
        for name, cell in zip(header[1:], others, strict=True):
            if cell:
                listed.append(f"  {name}{' ' * (names - text_width(name))}  {cell}")
    return listed
