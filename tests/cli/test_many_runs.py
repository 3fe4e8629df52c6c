"""What the commands read where there are thousands of runs: the files they show, and no others."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_commands_in_a_terminal import piped
from tests.support.script import environment

pytestmark = pytest.mark.timeout(200)  # several processes a test

RUNS = 3000
COUNTING = """
import atexit, os, sys
opened = set()
def hook(event, args):
    # Not `os.open`, which has no mode: that looks at a first line, and parses nothing.
    if event == "open" and args[1] and str(args[0]).endswith((".jsonl", ".db")):
        opened.add(str(args[0]))
    if event == "sqlite3.connect":
        opened.add(str(args[0]))
sys.addaudithook(hook)
atexit.register(lambda: sys.stderr.write(f"opened {len(opened)}\\n"))
from nanoeval_cli import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the records of thousands of runs, and the state of one."""
    folder = tmp_path_factory.mktemp("many")
    assert piped("new", "sums", folder=folder).returncode == 0
    ran = ("run", "sums.py:Sums", "runner.run_set_id=real")
    assert piped(*ran, folder=folder).returncode == 0
    (record,) = (folder / "records").glob("*.jsonl")
    text = record.read_text()
    spec = json.loads(text.splitlines()[0])["spec"]
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    for number in range(RUNS):
        created = start + datetime.timedelta(minutes=number)
        run_id = f"{created:%y%m%d%H%M%S}{number:08X}"
        copy = text.replace(spec["run_id"], run_id).replace("real", f"set-{number}")
        copy = copy.replace(spec["created_at"], created.isoformat())
        (folder / "records" / f"{run_id}_sums.jsonl").write_text(copy)
    return folder


def opened_by(*arguments: str, folder: Path) -> tuple[int, str]:
    """How many records and state files a command opens, and what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=environment(folder),
        cwd=folder,
        timeout=100,
    )
    return int(done.stderr.rpartition("opened ")[2]), done.stdout


def test_ls_reads_only_what_it_lists(many: Path) -> None:
    opened, shown = opened_by("ls", "-n", "20", folder=many)
    assert len(shown.splitlines()) == 22
    assert opened <= 30
    opened, shown = opened_by("ls", "-n", "20", "--json", folder=many)
    starts = [run["created_at"] for run in json.loads(shown)]
    assert starts == sorted(starts, reverse=True)
    assert starts[0].startswith("20")
    assert starts[1].startswith("2020-01-03")


def test_the_id_names_the_file(many: Path) -> None:
    run_id = sorted(path.name.partition("_")[0] for path in (many / "records").iterdir())[1234]
    for command in ("show", "samples", "export"):
        more = ("--to", "csv", "-o", "-") if command == "export" else ()
        opened, shown = opened_by(command, run_id, *more, folder=many)
        assert opened <= 3, command
        assert "sums" in shown or "2 + 2" in shown
    opened, _ = opened_by("show", run_id[:-2], folder=many)
    assert opened <= 3


def test_the_newest_is_found_without_reading_the_others(many: Path) -> None:
    opened, shown = opened_by("show", "last", folder=many)
    assert "run set     real" in shown
    assert opened <= 3
    opened, _ = opened_by("show", "sums", folder=many)
    assert opened <= 6


def test_a_name_that_no_run_has_is_known_from_first_lines(many: Path) -> None:
    opened, _ = opened_by("ls", "no-such-eval", folder=many)
    assert opened <= 1
    assert not list((many / "state").glob("*.db-*"))  # reading leaves nothing behind
    opened, shown = opened_by("ls", "SUMS", "-n", "2", folder=many)
    assert shown.count("sums") >= 2
    assert opened <= 6
