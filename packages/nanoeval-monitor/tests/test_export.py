from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nanoeval_core.errors import ConfigError
from nanoeval_monitor._export import export, main

WriteRecord = Callable[..., Path]


def read(folder: Path, name: str) -> Any:
    text = (folder / "data" / f"{name}.js").read_text("utf-8")
    match = re.fullmatch(r'nanoevalExport\.put\("([^"]+)",(.*)\);\n', text, re.DOTALL)
    assert match is not None
    assert match[1] == name
    return json.loads(match[2])


def test_the_files_hold_the_runs_whole(write_record: WriteRecord, records: Path) -> None:
    write_record("A", n=250, attempts=2)
    write_record("B", n=250, attempts=2, accuracy=0.8)
    folder = records.parent / "out"
    page = export(folder, [records])
    assert page == folder / "index.html"
    runs = read(folder, "runs")
    assert {run["key"] for run in runs["runs"]} == {"A", "B"}
    assert str(records) not in json.dumps(runs)  # where it was is nobody's business
    (one,) = (run for run in runs["runs"] if run["key"] == "A")
    name = one["folder_name"]
    rows = read(folder, f"{name}-rows-0")
    assert [row["id"] for row in rows] == list(range(1, 501))
    attempts = read(folder, f"{name}-attempts-2")
    assert attempts[0]["id"] == 2 * one["chunk"] + 1
    assert {event["type"] for event in attempts[0]["events"]} == {"sampling", "match"}
    assert read(folder, f"{name}-summary")["score"]["n"] == 250
    assert read(folder, runs["compared"]["A,B"])["pairs"][0]["n"] == 250
    assert set(runs["compared"]) == {"A,B", "B,A"}


def test_the_page_needs_nothing_from_outside(write_record: WriteRecord, records: Path) -> None:
    write_record("A", n=3, reply="</script><script>alert(1)</script>")
    page = export(records.parent / "out", [records]).read_text("utf-8")
    assert "static/" not in page
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)
    assert "alert(1)" not in page


def test_the_command(
    write_record: WriteRecord, records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_record("A", n=3)
    write_record("B", n=3)
    folder = records.parent / "out"
    main(["export", str(folder), f"records={records}", "runs=B"])
    assert capsys.readouterr().out == f"{folder / 'index.html'}\n"
    assert [run["key"] for run in read(folder, "runs")["runs"]] == ["B"]
    with pytest.raises(ConfigError, match="no run 'C'"):
        main(["export", str(folder), f"records={records}", "runs=C"])
    with pytest.raises(ConfigError, match="usage: nanoeval board export DIR"):
        main(["export", f"records={records}"])
    with pytest.raises(ConfigError, match="no records at"):
        main(["export", str(folder), f"records={records.parent / 'none'}"])
