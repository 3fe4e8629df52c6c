"""How subcommands print: tables, JSON, long texts a page at a time."""

from __future__ import annotations

import codecs
import contextlib
import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click
from nanoeval_core.errors import ConfigError
from nanoeval_core.json_values import json_value
from nanoeval_runner.formats import encodable
from nanoeval_runner.text_table import format_table, text_width


def write(text: str) -> None:
    """Write a line to stdout, in whatever encoding that has."""
    sys.stdout.write(encodable(text, sys.stdout.encoding) + "\n")


def note(text: str) -> None:
    """Write a line to stderr: what is no part of the result."""
    sys.stderr.write(encodable(text, sys.stderr.encoding) + "\n")


@contextlib.contextmanager
def writing(problem: str, instead: str) -> Iterator[None]:
    """Say in a sentence that what the block writes cannot be written.

    Args:
        problem: what cannot be written.
        instead: what a person can do.

    Raises:
        ConfigError: in place of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{problem} ({error.strerror or error}): {instead}") from error


def has_style() -> bool:
    """Return whether stdout shows bold text."""
    dumb = os.environ.get("TERM", "").lower() in ("", "dumb", "unknown")
    return sys.stdout.isatty() and not dumb and not os.environ.get("NO_COLOR")


def bold(text: str) -> str:
    return click.style(text, bold=True) if has_style() else text


def write_json(value: Any) -> None:
    """Print JSON that every reader takes: what is not finite is null."""
    is_utf8 = codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"
    json.dump(json_value(value), sys.stdout, indent=2, ensure_ascii=not is_utf8)
    sys.stdout.write("\n")


def terminal_width() -> int | None:
    """Return how many columns stdout has; None where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def write_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> list[str]:
    """Print aligned columns; on a terminal no line is longer than that is wide.

    Args:
        header: the columns' names.
        rows: as many cells each.
        right: the names of columns to be aligned at the right.
        optional: the names of those that go, in this order, while the terminal is too narrow.

    Returns:
        those of `optional` that went.
    """
    width = terminal_width()
    left_out: list[str] = []
    while True:
        kept = [i for i, one in enumerate(header) if one not in left_out]
        names = [header[i] for i in kept]
        lines = format_table(names, [[r[i] for i in kept] for r in rows], right=frozenset(right))
        if width is None or max(map(text_width, lines)) <= width or len(left_out) == len(optional):
            break
        left_out.append(optional[len(left_out)])
    for index, line in enumerate(lines):
        shown = line if width is None or len(line) <= width else line[: width - 1] + "…"
        write(bold(shown) if index == 0 else shown)
    return left_out


def describe(summary: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Yield a summary as indented lines, numbers rounded for reading."""
    width = max((len(str(name)) for name in summary), default=0)
    for name, value in summary.items():
        if isinstance(value, Mapping):
            if value:
                yield f"{indent}{name}"
                yield from describe(value, indent + "  ")
        else:
            yield f"{indent}{name!s:<{width}}  {_plain(value)}"


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(one) for one in value)
    return str(value)


def short_path(path: object) -> str:
    """Return a path with the home folder as `~`."""
    home, text = os.path.expanduser("~"), str(path)
    return "~" + text.removeprefix(home) if home != "/" and text.startswith(home + "/") else text


def write_pages(lines: Iterable[str]) -> None:
    """Write lines, on a terminal through `$PAGER` (or less)."""
    os.environ.setdefault("LESS", "-FRX")
    ends = itertools.chain([""], itertools.repeat("\n"))  # click ends the last one
    encoding = sys.stdout.encoding
    texts = (end + encodable(line, encoding) for end, line in zip(ends, lines, strict=False))
    click.echo_via_pager(texts, color=has_style())
