"""`nanoeval export`."""

from __future__ import annotations

import csv
import json
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

import click
from nanoeval_core.errors import ConfigError
from nanoeval_recorder.reading.dataframe import columns, csv_cell, rows, write_parquet

from nanoeval_cli._command import complete_run, subcommand
from nanoeval_cli._output import note, writing
from nanoeval_cli._runs import find_run, record_path

SUFFIX = {"csv": ".csv", "jsonl": ".jsonl", "parquet": ".parquet", "inspect": ".json"}
NEEDED = {
    "parquet": ("polars", "polars: `pip install polars`; --to csv needs nothing"),
    "inspect": ("inspect_ai", 'Inspect itself: `pip install "nanoeval-recorder[inspect]"`'),
}
"""What a format needs that may not be installed, and how it is."""


@subcommand("export")
@click.argument("run", required=False, shell_complete=complete_run)
@click.option("--to", required=True, type=click.Choice(list(SUFFIX)), help="The format.")
@click.option("-o", "--output", metavar="FILE", help="Where to; - is stdout.")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
def command(run: str | None, to: str, output: str | None, force: bool) -> int:
    """Write a run's attempts for other tools."""
    if to == "inspect" and not (output or ".json").endswith((".json", ".eval", "-")):
        raise ConfigError(f"--output {output}: Inspect reads files named *.json or *.eval")
    record = record_path(find_run(run, recorded=True))
    if output == "-":
        if to not in ("csv", "jsonl"):
            raise ConfigError(f"--to {to} is no text: give a file with --output")
        _write_rows(record, to, sys.stdout)
        return 0
    # Into the current folder, not the record's: that one holds records.
    path = Path(output or Path.cwd() / (record.name.partition(".")[0] + SUFFIX[to]))
    if path.exists() and not force:
        raise ConfigError(f"{path} is already there: --force overwrites, --output names another")
    if not path.parent.is_dir():
        raise ConfigError(f"--output {path}: there is no folder {path.parent}")
    package, why = NEEDED.get(to, ("", ""))
    if package and find_spec(package) is None:
        raise ConfigError(f"--to {to} needs {why}")
    with writing(
        f"cannot write {path}", "name a file that can be written with --output, or make room"
    ):
        if to == "parquet":
            write_parquet(record, path)
        elif to == "inspect":
            import_module("nanoeval_recorder.inspect_log").write_inspect_log(record, path)
        else:
            with path.open("w", encoding="utf-8", newline="") as file:
                _write_rows(record, to, file)
    note(f"wrote {path}")
    return 0


def _write_rows(record: Path, to: str, file: TextIO) -> None:
    if to == "jsonl":
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(record))
        return
    writer = csv.DictWriter(file, list(columns(record)))
    writer.writeheader()
    for row in rows(record):
        writer.writerow({name: csv_cell(value) for name, value in row.items()})
