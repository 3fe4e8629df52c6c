"""Runs as pages that open from disk: `nanoeval board export DIR`.

The folder holds `index.html`, which is the monitor's page with all its modules inside, and small
data files. A browser lets a page from disk load neither modules nor JSON, but it does run scripts:
a data file is one that hands its content to the page, and it is loaded when it is needed.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import re
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import chz
import msgspec
from nanoeval_core.errors import ConfigError
from nanoeval_recorder.folder import records_folder
from nanoeval_runner.command_line import from_command_line

from nanoeval_monitor import _index_sql as sql
from nanoeval_monitor._comparison import MAX_RUNS, compare_runs
from nanoeval_monitor._run_list import RunEntry, RunList
from nanoeval_monitor._run_summary import add_details, row_dict, summary_of
from nanoeval_monitor._sample_query import COLUMNS, attempts_with_events
from nanoeval_monitor._server import STATIC

ROWS_A_FILE = 5000
ATTEMPTS_A_FILE = 100
_IMPORT = re.compile(r'from "\./([\w-]+)\.js"')


@chz.chz
class ExportArgs:
    """Which runs are exported."""

    records: str | None = chz.field(
        default=None, doc="A record or a folder of records, or several separated by ':'."
    )
    runs: str | None = chz.field(
        default=None, doc="Ids of runs, separated by commas; by default all that are found."
    )


def main(argv: Sequence[str] | None = None) -> None:
    """`board export DIR`, with `records=…` and `runs=…`.

    Raises:
        ConfigError: an argument is wrong, or there is nothing to export.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    usage = "usage: nanoeval board export DIR [records=…] [runs=…]"
    if arguments[:1] != ["export"]:
        raise ConfigError(usage)
    folders = [one for one in arguments[1:] if "=" not in one and not one.startswith("-")]
    args = from_command_line(ExportArgs, [one for one in arguments[1:] if one not in folders])
    if len(folders) != 1:
        raise ConfigError(usage)
    given = args.records.split(os.pathsep) if args.records else [str(records_folder())]
    wanted = None if args.runs is None else args.runs.split(",")
    page = export(Path(folders[0]), [Path(one).expanduser() for one in given], runs=wanted)
    sys.stdout.write(f"{page}\n")


def export(folder: Path, records: Sequence[Path], *, runs: Sequence[str] | None = None) -> Path:
    """Write the runs recorded at `records` into `folder`.

    Args:
        folder: made if need be; what it holds is overwritten, nothing is removed.
        records: files or folders.
        runs: the ids of those to take; by default all.

    Returns:
        the page to open.

    Raises:
        ConfigError: there is no such run, or none at all.
    """
    found = RunList(records)
    try:
        entries = _chosen(found.entries(), runs, records)
        data = folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        described = [
            _write_run(data, found, entry, f"run-{number}") for number, entry in enumerate(entries)
        ]
        compared = dict(_write_comparisons(data, found, entries))
        _put(data, "runs", {"folders": [], "runs": described, "compared": compared})
        page = folder / "index.html"
        page.write_text(one_page(), "utf-8")
    finally:
        found.close()
    return page


def _chosen(
    entries: list[RunEntry], runs: Sequence[str] | None, records: Sequence[Path]
) -> list[RunEntry]:
    where = ", ".join(str(path) for path in records)
    if not entries:
        raise ConfigError(f"no records at {where}: name a record or a folder with records=…")
    if runs is None:
        return entries
    by_id = {name: entry for entry in entries for name in (entry.key, entry.run_id)}
    missing = [name for name in runs if name not in by_id]
    if missing:
        raise ConfigError(f"no run {missing[0]!r} at {where}; there are {', '.join(sorted(by_id))}")
    return [by_id[name] for name in dict.fromkeys(runs)]


def _write_run(data: Path, runs: RunList, entry: RunEntry, name: str) -> dict[str, Any]:
    index = runs.index(entry.key)
    index.update_all()
    add_details(index)
    summary = {"key": entry.key, "path": entry.path.name, "index": {"complete": True}}
    _put(data, f"{name}-summary", {**summary, **summary_of(index)})
    row_files = 0
    with index.reading() as connection:
        for rows in _chunks(_rows(connection), ROWS_A_FILE):
            found = [row_dict(COLUMNS, row) for row in rows]
            _put(data, f"{name}-rows-{row_files}", found)
            row_files += 1
        for number, rows in enumerate(_chunks(_rows(connection, spans=True), ATTEMPTS_A_FILE)):
            attempts = attempts_with_events(index, rows, whole=True)
            _put(data, f"{name}-attempts-{number}", attempts)
    described = {**entry.as_dict(), "path": entry.path.name, "folder": ""}
    return {
        **described,
        "folder_name": name,
        "row_files": row_files,
        "chunk": ATTEMPTS_A_FILE,
    }


def _rows(connection: sqlite3.Connection, *, spans: bool = False) -> Iterator[tuple[Any, ...]]:
    return iter(connection.execute(sql.ALL_WITH_SPANS if spans else sql.ROWS))


def _chunks(rows: Iterator[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    while chunk := list(itertools.islice(rows, size)):
        yield chunk


def _write_comparisons(
    data: Path, runs: RunList, entries: Sequence[RunEntry]
) -> Iterator[tuple[str, str]]:
    """Every ordered pair of runs of the same eval, where they are few: `a,b` → its file."""
    by_eval: dict[str, list[str]] = {}
    for entry in entries:
        by_eval.setdefault(entry.eval_name, []).append(entry.key)
    number = 0
    for keys in by_eval.values():
        for pair in itertools.permutations(keys[:MAX_RUNS], 2):
            try:
                compared = compare_runs({key: runs.index(key) for key in pair})
            except ConfigError:
                continue  # they share no question: the page says that it has no comparison
            _put(data, f"compare-{number}", compared)
            yield ",".join(pair), f"compare-{number}"
            number += 1


def _put(data: Path, name: str, value: Any) -> None:
    content = b"nanoevalExport.put(" + msgspec.json.encode(name) + b"," + msgspec.json.encode(value)
    (data / f"{name}.js").write_bytes(content + b");\n")


def one_page() -> str:
    """The monitor's page with its style sheet and modules inside."""
    modules = {file.stem: file.read_text("utf-8") for file in sorted(STATIC.glob("*.js"))}
    urls = {
        f"nanoeval/{name}": _data_url("text/javascript", _IMPORT.sub(r'from "nanoeval/\1"', source))
        for name, source in modules.items()
    }
    icon = _data_url("image/svg+xml", (STATIC / "icon.svg").read_text("utf-8"))
    style = (STATIC / "app.css").read_text("utf-8").replace('"icon.svg"', f'"{icon}"')
    scripts = {
        "": "globalThis.nanoevalExport={files:{},put(name,value){this.files[name]=value}};",
        ' type="importmap"': msgspec.json.encode({"imports": urls}).decode(),
        ' type="module"': 'import "nanoeval/app";',
    }
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
        f"script-src data: file: {' '.join(map(_hash, scripts.values()))}"
    )
    head = [
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        f"<style>{style}</style>",
        *(f"<script{kind}>{source}</script>" for kind, source in scripts.items()),
    ]
    page = (
        (STATIC / "index.html")
        .read_text("utf-8")
        .replace('href="static/icon.svg"', f'href="{icon}"')
    )
    page = page.replace('<link rel="stylesheet" href="static/app.css">\n', "")
    return page.replace('<script type="module" src="static/app.js"></script>', "\n".join(head))


def _data_url(kind: str, text: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(text.encode()).decode()}"


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
