"""`nanoeval board export DIR`."""

from __future__ import annotations

import click

from nanoeval_cli._command import subcommand
from nanoeval_cli.bin.mon import find_command


@subcommand("board", takes_fields=True)
@click.argument("action", type=click.Choice(["export"]))
@click.argument("folder")
def command(action: str, folder: str, fields: dict[str, str]) -> int:
    """Write recorded runs as pages that open from disk: FOLDER/index.html.

    \b
      nanoeval board export DIR
      nanoeval board export DIR records=path/to/records runs=ID,ID

    By default all of yours; records names a record or a folder of records, runs the ids of some of
    them. Part of the web monitor: `pip install "nanoeval[monitor]"`.
    """
    find_command("board")([action, folder, *(f"{name}={value}" for name, value in fields.items())])
    return 0
