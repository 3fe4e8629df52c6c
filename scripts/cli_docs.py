"""Writes the reference of the commands in docs/cli.md from the commands themselves.

python scripts/cli_docs.py           writes it
python scripts/cli_docs.py --check   exits with 1 where it is not current
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from nanoeval_cli._main import COMMANDS, cli

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
BEGIN = "<!-- written by scripts/cli_docs.py: change the commands, then run it -->\n"
END = "<!-- end of what scripts/cli_docs.py writes -->\n"
WIDTH = 88


def reference() -> str:
    """The help of each command, as it is printed."""
    sections = []
    root = click.Context(cli, info_name="nanoeval")
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        context = click.Context(
            command,
            info_name=name,
            parent=root,
            terminal_width=WIDTH,
            max_content_width=WIDTH,
            help_option_names=["-h", "--help"],
        )
        help_text = command.get_help(context).rstrip()
        sections.append(f"### `nanoeval {name}`\n\n```text\n{help_text}\n```\n")
    return "\n".join(sections)


def page(text: str) -> str:
    """The page `text` with the reference of today."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{reference()}\n{END}{tail}"


def main() -> None:
    text = PAGE.read_text("utf-8")
    current = page(text)
    if "--check" in sys.argv[1:]:
        if text != current:
            sys.exit("docs/cli.md is not current: run python scripts/cli_docs.py")
    else:
        PAGE.write_text(current, "utf-8")


if __name__ == "__main__":
    main()
