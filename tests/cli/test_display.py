"""The display of a run that goes on: in terminals of several kinds, in pipes, in a log."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.support.script import ROOT, environment, run_python

SCRIPT = "tests.cli.gate_eval"


class Run(Terminal):
    """`gate_eval` in a terminal, held at its gate."""

    def __init__(
        self, folder: Path, *arguments: str, size: tuple[int, int] = (24, 100), **more: str
    ) -> None:
        self.gate = folder / "gate"
        super().__init__(
            "-m", SCRIPT, *arguments, folder=folder, size=size, GATE=str(self.gate), **more
        )

    def open_gate(self) -> None:
        self.gate.touch()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run(tmp_path) as run:
        yield run


def test_says_that_it_waits_for_tasks_and_then_for_the_summary(tmp_path: Path) -> None:
    with Run(tmp_path, "eval.waits_in=get_tasks") as run:
        run.wait_for("eval 'gate': listing its tasks")
    with Run(tmp_path, "eval.waits_in=get_summary") as run:
        run.wait_for("6 of 4,096 in flight")
        run.open_gate()
        run.wait_for("10/10 summing up")
        assert "in flight" not in run.now
        run.gate.with_suffix(".2").touch()
        assert run.finish() == 0
        assert "summing up" not in run.text


def test_shows_how_far_it_is_and_ends_in_a_table(run: Run) -> None:
    # All of it at once: a look may come while the screen is being drawn.
    parts = ("4/10", "6 of 4,096 in flight", "gate", "━", "1 retry", "cost 1")
    patterns = (r"accuracy 0\.500 ± 0\.\d+", r"6(k|,000) tokens")
    run.wait_for(
        lambda shown: (
            all(part in shown for part in parts)
            and all(re.search(pattern, shown) for pattern in patterns)
        )
    )
    run.open_gate()
    assert run.finish() == 0
    assert "in flight" not in run.now  # the display is gone, the table stays
    table = run.text
    assert re.search(r"metric +value +95 % interval", table)
    assert re.search(r"accuracy +0\.500 ± 0\.167 +0\.237 – 0\.763", table)
    assert re.search(r"10/10 tasks in .+ · 1 retry · 15,000 tokens · cost 2\.5", table)
    record = re.search(r"record: (\S+?\.jsonl)", table.replace("\n", ""))  # its line is broken
    assert record is not None
    assert Path(record[1]).exists()
    assert not run.screen.cursor.hidden


def test_what_is_printed_stays_above_the_display(tmp_path: Path) -> None:
    with Run(tmp_path, "eval.says=hello from the eval") as run:

        def said_above_one_bar(text: str) -> bool:
            said, bars = text.find("hello from the eval"), text.count("4/10")
            return bars == 1 and 0 <= said < text.index("4/10")

        run.wait_for(said_above_one_bar)
        run.open_gate()
        assert run.finish() == 0


def test_gathered_runs_share_one_display_and_one_table(tmp_path: Path) -> None:
    with Run(tmp_path, "copies=3", "eval.open=5") as run:
        names = {"gate ", "gate1", "gate2"}
        run.wait_for(
            lambda text: (
                text.count("5/10") == 3 and names <= {line[:5] for line in text.splitlines()}
            )
        )
        run.open_gate()
        assert run.finish() == 0
        assert sum(line.startswith("eval ") for line in run.lines) == 1
        assert run.text.count("10/10") == 3


def test_more_runs_than_rows(tmp_path: Path) -> None:
    with Run(tmp_path, "copies=12", "eval.open=5", size=(8, 80)) as run:
        run.wait_for("of all tasks")
        shown = [line for line in run.now.splitlines() if line]
        assert len(shown) <= 7
        run.open_gate()
        assert run.finish() == 0
        assert run.text.count("10/10") == 12


def test_a_narrower_and_a_wider_terminal(run: Run) -> None:
    run.wait_for("4/10")
    for columns in (50, 120):
        run.resize(24, columns)
        width = columns

        def fits(text: str, width: int = width) -> bool:
            lines = [line for line in text.splitlines() if line]
            return len(lines) == 2 and max(map(len, lines)) < width

        run.wait_for(fits)
    run.open_gate()
    assert run.finish() == 0
    assert "10/10" in run.now


def test_no_color(tmp_path: Path) -> None:
    with Run(tmp_path, NO_COLOR="1") as run:
        # What is left to do differs from what is done without color too.
        run.wait_for(lambda text: "4/10" in text and "─" in text)
        colors = re.findall(rb"\x1b\[[0-9;]*(?:3[0-7]|9[0-7]|38;[0-9;]+)m", run.written)
        assert not colors
        run.open_gate()
        assert run.finish() == 0


@pytest.mark.parametrize(
    "setting", [{"TERM": "dumb"}, {"CI": "true"}, {"PYTHONIOENCODING": "ascii"}]
)
def test_terminals_that_cannot_draw_get_lines(tmp_path: Path, setting: dict[str, str]) -> None:
    with Run(tmp_path, **{"PYTHONUTF8": "0", **setting}) as run:
        run.open_gate()
        assert run.finish() == 0
        assert b"\x1b" not in run.written
        assert "10/10" in run.text


def test_off(tmp_path: Path) -> None:
    with Run(tmp_path, NANOEVAL_PROGRESS="off") as run:
        run.open_gate()
        assert run.finish() == 0
        assert run.text.strip() == ""


def test_a_pipe_gets_plain_text_and_nothing_on_stdout(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    done = subprocess.run(
        [sys.executable, "-m", SCRIPT],
        env=environment(tmp_path, GATE=str(tmp_path / "gate")),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert done.stdout == ""
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr
    assert 3 <= len(done.stderr.splitlines()) <= 15


def test_stdout_in_a_pipe_keeps_what_the_script_prints(tmp_path: Path) -> None:
    command = f"{sys.executable} -m {SCRIPT} 'eval.says=for the pipe' | tee {tmp_path / 'piped'}"
    with Terminal(
        "-c",
        f"import os; os.system({command!r})",
        folder=tmp_path,
        GATE=str(tmp_path / "gate"),
    ) as run:
        run.wait_for("4/10")
        (tmp_path / "gate").touch()
        assert run.finish() == 0
    assert (tmp_path / "piped").read_text() == "for the pipe\n"


def test_a_closed_pipe_does_not_cost_the_run(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    done = subprocess.run(
        f"{sys.executable} -m {SCRIPT} 2>&1 | true; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        env=environment(tmp_path, GATE=str(tmp_path / "gate")),
        cwd=ROOT,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0
    (record,) = (tmp_path / "records").glob("*.jsonl")
    assert "final_report" in record.read_text().splitlines()[-1]


def test_the_slowest_tasks_on_demand(run: Run, tmp_path: Path) -> None:
    run.wait_for("4/10")

    def shown() -> str:
        done = run_python("-m", "nanoeval", "show", "gate", "--slowest", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    while "gate/q009.1" not in (text := shown()):  # with the next heartbeat
        assert "slowest running tasks" in text
    assert re.search(r"gate/q004\.1 +\d+ s +Gate\.evaluate .*gate_eval\.py:\d+", text)
    run.open_gate()
    assert run.finish() == 0


def test_ctrl_c_takes_the_display_down_and_says_how_to_resume(run: Run) -> None:
    run.wait_for("4/10")
    run.type("\x03")
    run.wait_for("finishing what is in flight")
    run.open_gate()  # what is in flight ends
    code = run.finish()
    # All ten were in flight, so all ten are there.
    assert code in (0, 130)
    assert not run.screen.cursor.hidden
    assert "10/10" in run.text


def test_second_ctrl_c_stops_at_once(run: Run) -> None:
    run.wait_for("4/10")
    run.type("\x03")
    run.wait_for("finishing what is in flight")
    run.type("\x03")
    assert run.finish() in (130, -2)
    assert "resume" in run.text
    assert "Traceback" not in run.text


def test_a_failing_eval_is_told_in_one_message(tmp_path: Path) -> None:
    with Run(tmp_path, "eval.breaks=True") as run:
        run.wait_for("4/10")
        run.open_gate()
        assert run.finish() == 1
        assert "KeyError: 'something in the eval'" in run.text
        assert "Traceback" not in run.text
        assert "in flight" not in run.now


def test_a_budget_stops_the_run_and_says_which(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    arguments = ("runner.budget_tokens=4500", "runner.concurrency=1", "runner.run_set_id=b")
    with Run(tmp_path, *arguments) as run:
        assert run.finish() == 3
        text = " ".join(run.text.split())
        assert "tokens of budget_tokens=4,500 are spent" in text
        assert "resume" in text
    more = "budget_tokens=1000000"
    done = run_python("-m", "nanoeval.bin.resume", "run_set_id=b", more, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "10/10" in done.stderr
