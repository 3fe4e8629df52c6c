"""The two checkpoint examples: one evaluated, and a folder watched for more."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.cli.terminal import Terminal
from tests.support.script import run_python


def test_one_checkpoint_and_again_without_running_anything(tmp_path: Path) -> None:
    (tmp_path / "step_1000.gguf").touch()
    command = ("-m", "examples.eval_checkpoint", f"checkpoint={tmp_path}/step_1000.gguf")
    first = run_python(*command, "how.mock=True", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("step_1000: 0.")
    again = run_python(*command, "how.mock=True", folder=tmp_path)
    assert again.stdout == first.stdout
    assert len(list((tmp_path / "records").glob("*.jsonl"))) == 1


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    done = run_python("-m", "examples.eval_checkpoint", "checkpoint=nope.gguf", folder=tmp_path)
    assert done.returncode == 2
    assert "'nope.gguf': there is no such file" in done.stderr


def test_a_folder_is_watched(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "step_500.gguf").touch()
    command = ("-m", "examples.eval_checkpoints", f"folder={folder}", "how.mock=True")
    with Terminal(*command, folder=tmp_path) as terminal:
        terminal.wait_for("step_500.gguf: 0.")
        (folder / "step_4000.gguf").touch()
        terminal.wait_for("step_4000.gguf: 0.")
        terminal.type("\x03")
        assert terminal.finish() in (130, -2)
        assert "Traceback" not in terminal.text
    again = run_python(*command, "watch=False", folder=tmp_path)
    assert again.returncode == 0
    assert again.stdout == ""  # both were there already
    with (folder / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["checkpoint"] for row in rows] == ["step_500.gguf", "step_4000.gguf"]
    assert float(rows[0]["accuracy"]) < float(rows[1]["accuracy"])
