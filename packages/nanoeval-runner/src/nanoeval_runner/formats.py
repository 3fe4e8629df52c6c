"""Numbers and times as people read them, and what a stream can show of them."""

from __future__ import annotations

import os
from typing import TextIO

__all__ = [
    "encodable",
    "format_count",
    "format_rate",
    "format_score",
    "format_seconds",
    "width_of",
    "write_line",
]

_ASCII = str.maketrans({"±": "+/-", "·": "-", "…": "...", "━": "#", "─": ".", "–": "-", "→": "->"})


def format_seconds(seconds: float) -> str:
    """Return `0.4 s`, `12 s`, `3:05`, `2:03:05`, `3 d 04 h`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours < 1:
        return f"{minutes}:{rest:02d}"
    if hours < 48:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{hours // 24} d {hours % 24:02d} h"


def format_rate(per_second: float) -> str:
    """Return `1,204/s`, `3.1/s`, `14/min`, `2.5/h`."""
    if per_second >= 99.5:
        return f"{per_second:,.0f}/s"
    if per_second >= 0.995:
        return f"{per_second:.1f}/s"
    if per_second * 60 >= 0.995:
        return f"{per_second * 60:.1f}/min"
    return f"{per_second * 3600:.1f}/h"


def format_count(number: int) -> str:
    """Return a number exact up to five digits, then with a unit: `41,020`, `1.24M`."""
    if number < 100_000:
        return f"{number:,}"
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9)):
        if number < 999.5 * size:
            return f"{number / size:.3g}{unit}"
    return f"{number / 1e12:.3g}T"


def format_score(mean: float, stderr: float | None = None) -> str:
    """Return `0.612 ± 0.014`, with as many digits as the error leaves worth showing."""
    if stderr is None:
        return f"{mean:.3g}" if abs(mean) >= 10 else f"{mean:.3f}"
    digits = 3 if stderr < 10 else 0
    return f"{mean:.{digits}f} ± {stderr:.{digits}f}"


def encodable(text: str, encoding: str | None) -> str:
    """Return `text` as a stream with this encoding can write it."""
    try:
        text.encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return text.translate(_ASCII).encode("ascii", "replace").decode()
    return text


def write_line(stream: TextIO, text: str) -> None:
    """Write and flush, in whatever encoding `stream` has; to nowhere once its reader is gone."""
    try:
        stream.write(encodable(text, getattr(stream, "encoding", None)) + "\n")
        stream.flush()
    except RuntimeError:  # a signal came in the midst of another write, and its handler says this
        os.write(stream.fileno(), (text + "\n").encode("utf-8", "replace"))
    except BrokenPipeError:  # else Python fails too, when it flushes what is left at its end
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, stream.fileno())
        os.close(devnull)


def width_of(stream: TextIO) -> int | None:
    """Return how many columns a terminal has; None for what is no terminal."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None
