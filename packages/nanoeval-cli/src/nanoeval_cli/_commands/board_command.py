"""`nanoeval board export DIR`."""

from __future__ import annotations

from collections.abc import Sequence

from nanoeval_cli._output import write
from nanoeval_cli.bin.mon import find_command

USAGE = """usage: nanoeval board export DIR [records=…] [runs=ID,ID]

Writes recorded runs as pages that open from disk: DIR/index.html. By default all of yours;
records= names a record or a folder of records, runs= the ids of some of them.
It is part of the web monitor: `pip install "nanoeval[monitor]"`.
"""


def main(arguments: Sequence[str]) -> int:
    if "--help" in arguments or "-h" in arguments:
        write(USAGE.rstrip())
        return 0
    find_command("board")(list(arguments))
    return 0
