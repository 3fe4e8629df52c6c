"""Stopped, gone on with, run again: what is finished stays finished."""

from __future__ import annotations

import csv
import datetime
import json
import time
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal, nanoeval
from tests.cli.test_commands_in_a_terminal import piped
from tests.support.script import ROOT

pytestmark = pytest.mark.timeout(200)  # several processes a test

GATE = str(Path(__file__).with_name("gate_eval.py"))


def gated(*arguments: str, folder: Path) -> Terminal:
    return nanoeval(*arguments, folder=folder, size=(30, 120), GATE=str(folder / "gate"))


def test_a_stopped_run_is_listed_and_finished(tmp_path: Path) -> None:
    arguments = ("runner.concurrency=5", "runner.shutdown_grace=0", "runner.run_set_id=mine")
    with gated("run", f"{GATE}:Gate", *arguments, folder=tmp_path) as terminal:
        terminal.wait_for("3/10")  # q001 waits behind the others for its second attempt
        terminal.type("\x03")
        assert terminal.finish() == 130
        assert "resume" in terminal.text
    listed = piped("resume", folder=tmp_path)
    assert "mine" in listed.stdout
    assert "3/10" in listed.stdout
    shown = piped("show", "mine", folder=tmp_path)
    assert "To finish it: nanoeval resume mine" in shown.stdout
    (tmp_path / "gate").touch()
    with gated("resume", "mine", folder=tmp_path) as terminal:
        assert terminal.finish() == 0
        assert "10/10" in terminal.text
    assert "Nothing to resume" in piped("resume", folder=tmp_path).stdout
    again = piped("resume", "mine", folder=tmp_path)
    assert (again.returncode, again.stdout) == (0, "")
    assert "run set mine is complete" in again.stderr


def test_a_sweep_ends_in_a_table_and_repeats_only_what_is_new(tmp_path: Path) -> None:
    for name in ("sums", "more_sums"):
        assert piped("new", name, folder=tmp_path).returncode == 0
    sweep = ("sweep", "sums.py:Sums", "more_sums.py:MoreSums")
    arguments = ("--name", "mine")
    with nanoeval(*sweep, "solver.accuracy=0,1", *arguments, folder=tmp_path, size=(30, 120)) as t:
        assert t.finish() == 0
        table = [line.split() for line in t.lines if line.startswith(("sums ", "more_sums "))]
        assert sum("± 0.000" in " ".join(row) for row in table) >= 2
        assert b"\x1b[1m1.000" in t.written  # the best in bold
    markdown = (tmp_path / "sweeps" / "mine" / "table.md").read_text()
    assert "| sums | 0.000 ± 0.000 (0.000 – 0.658) | **1.000" in markdown
    again = piped(*sweep, "solver.accuracy=0,1,0.5", *arguments, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "4 of 6 cells were there already" in again.stderr
    with (tmp_path / "sweeps" / "mine" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["choice"] for row in rows] == [f"accuracy={a}" for a in ("0", "1", "0.5")] * 2
    runs = json.loads(piped("ls", "--json", "--all", folder=tmp_path).stdout)
    assert len(runs) == 6


def test_a_stopped_sweep_goes_on(tmp_path: Path) -> None:
    arguments = ("runner.shutdown_grace=0", "name=a,b", "-o", "out")
    with gated("sweep", f"{GATE}:Gate", *arguments, folder=tmp_path) as terminal:
        terminal.wait_for(lambda text: text.count("4/10") == 2)
        terminal.type("\x03")
        assert terminal.finish() == 130
        assert "Traceback" not in terminal.text
    (tmp_path / "gate").touch()
    with gated("sweep", f"{GATE}:Gate", *arguments, folder=tmp_path) as terminal:
        assert terminal.finish() == 0
    runs = json.loads(piped("ls", "--json", "--all", folder=tmp_path).stdout)
    assert [run["state"] for run in runs] == ["done", "done"]
    assert len({run["run_set_id"] for run in runs}) == 1


def test_a_cell_that_fails_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    done = piped(
        "sweep",
        f"{GATE}:Gate",
        "breaks=True,False",
        "-o",
        "out",
        folder=tmp_path,
        GATE=str(tmp_path / "gate"),
    )
    assert done.returncode == 1
    assert "failed" in done.stdout
    assert "0.5" in done.stdout
    assert "KeyError: 'something in the eval'" in done.stderr
    assert "Traceback" not in done.stderr
    runs = json.loads(piped("ls", "--json", "--all", folder=tmp_path).stdout)
    assert sorted(run["state"] for run in runs) == ["done", "failed"]


def test_an_accuracy_has_its_interval_though_the_eval_does_not_say_it(tmp_path: Path) -> None:
    """Five of ten right: the sample's standard error, and Wilson's interval."""
    (tmp_path / "gate").touch()
    gate = str(tmp_path / "gate")
    done = piped("run", f"{GATE}:Gate", "--json", folder=tmp_path, GATE=gate)
    summary = json.loads(done.stdout)
    assert summary["accuracy"] == 0.5
    assert summary["accuracy_stderr"] == pytest.approx((0.25 / 9) ** 0.5)
    assert summary["accuracy_ci95"] == pytest.approx([0.2366, 0.7634], abs=1e-4)
    assert summary["accuracy_n"] == 10
    assert "accuracy  0.500 ± 0.167  0.237 – 0.763" in done.stderr
    assert "0.500 ± 0.167" in piped("ls", folder=tmp_path).stdout


def test_the_time_of_a_run_that_goes_on_counts_once(tmp_path: Path) -> None:
    """The state file is a second behind at most, and what it has is not added to the clock's."""
    with gated("run", f"{GATE}:Gate", folder=tmp_path) as terminal:
        terminal.wait_for("6 of 4,096 in flight")
        seconds = 0.0
        while seconds < 2:  # by then the file has been brought up to date
            (run,) = json.loads(piped("ls", "--json", folder=tmp_path).stdout)
            seconds = run["seconds"]
        begun = datetime.datetime.fromisoformat(run["created_at"]).timestamp()
        assert seconds <= time.time() - begun


def test_a_run_of_which_nothing_finished_has_no_score(tmp_path: Path) -> None:
    arguments = ("open=0", "tasks=1", "runner.shutdown_grace=0")
    with gated("run", f"{GATE}:Gate", *arguments, folder=tmp_path) as terminal:
        terminal.wait_for("1 of 4,096 in flight")
        terminal.type("\x03")
        assert terminal.finish() == 130
        assert "0.000" not in terminal.text
    (run,) = json.loads(piped("ls", "--json", folder=tmp_path).stdout)
    assert (run["done"], run["score"]) == (0, None)


def test_a_budget_is_the_whole_sweeps(tmp_path: Path) -> None:
    """Each cell spends 450,000 tokens and 75 of cost: less than the budget, and both more."""
    (tmp_path / "gate").touch()
    sweep = ("sweep", f"{GATE}:Gate", "name=a,b", "tasks=300", "runner.concurrency=1", "-o", "out")
    gate = str(tmp_path / "gate")
    short = piped(*sweep, "--budget-tokens=500_000", folder=tmp_path, GATE=gate)
    assert short.returncode == 3, short.stderr
    assert "of budget_tokens=500,000 are spent by all runs together" in short.stderr
    assert "goes on with them" in short.stderr
    assert "stopped" in short.stdout
    again = piped(*sweep, "--budget-cost=70", folder=tmp_path, GATE=gate)
    assert again.returncode == 3, again.stderr  # what the cells have spent before counts
    ample = piped(*sweep, "--budget-tokens=950_000", folder=tmp_path, GATE=gate)
    assert ample.returncode == 0, ample.stderr
    runs = json.loads(piped("ls", "--json", "--all", folder=tmp_path).stdout)
    assert [(run["state"], run["tokens"]) for run in runs] == [("done", 450_000)] * 2
    spent = piped(
        *sweep[:2], "name=a,b,c", *sweep[3:], "--budget-cost=150", folder=tmp_path, GATE=gate
    )
    assert (spent.returncode, "1 of 3 cells" in spent.stderr) == (3, True)


def test_a_run_set_over_budget_says_so_without_a_place_in_the_code(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    sweep = ("sweep", f"{GATE}:Gate", "name=a,b", "runner.concurrency=1", "-o", "out")
    gate = str(tmp_path / "gate")
    assert piped(*sweep, "runner.budget_tokens=1500", folder=tmp_path, GATE=gate).returncode == 3
    done = piped("resume", "last", folder=tmp_path, GATE=gate)
    assert done.returncode == 3
    assert done.stderr.count("of budget_tokens=1,500 are spent: eval ") == 2
    assert " at " not in done.stderr


def test_evals_of_one_name_have_rows_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    (tmp_path / "two.py").write_text(
        "import chz\nfrom tests.cli.gate_eval import Gate\n\n\n"
        "@chz.chz\nclass Left(Gate):\n    pass\n\n\n@chz.chz\nclass Right(Gate):\n    pass\n"
    )
    done = piped(
        *("sweep", "two.py:Left", "two.py:Right", "-o", "out"),
        folder=tmp_path,
        GATE=str(tmp_path / "gate"),
        PYTHONPATH=str(ROOT),
    )
    assert done.returncode == 0, done.stderr
    names = [line.split(" 0.")[0].strip() for line in done.stdout.splitlines()]
    assert {"gate (Left)", "gate (Right)"} <= set(names)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a,b,c", ["a", "b", "c"]),
        ("a", ["a"]),
        (r"a\,b,c", ["a,b", "c"]),
        ("[1,2],[3]", ["[1,2]", "[3]"]),
        ("'a,b',c", ["'a,b'", "c"]),
        (r"C:\x,d", [r"C:\x", "d"]),
        ("", [""]),
    ],
)
def test_values_of_an_argument(text: str, values: list[str]) -> None:
    from importlib import import_module

    assert import_module("nanoeval_cli._sweep").split_values(text) == values
