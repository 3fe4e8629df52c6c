"""What an executor in a process of its own does about its driver, its folder and its script."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from nanoeval_runner._queue.paths import state_file
from nanoeval_runner.remote_executor import ORPHANED, relocated, shared_folder


def test_an_executor_whose_driver_is_out_of_reach_ends_at_once() -> None:
    code = (
        "from nanoeval_runner.remote_executor import serve_executor\n"
        "def call(message): raise ConnectionError\n"
        "serve_executor('lonely', call)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == ORPHANED


def test_one_that_is_not_welcome_ends_in_peace() -> None:
    code = (
        "import pickle\n"
        "from nanoeval_runner.remote_executor import serve_executor\n"
        "serve_executor('late', lambda message: pickle.dumps(None))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_last_executor_of_a_host_removes_its_shared_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOEVAL_STATE_DIR", str(tmp_path))
    with shared_folder("some-run") as first:
        with shared_folder("some-run") as second:
            assert first == second
            (first / "limit").touch()
        assert (first / "limit").exists()
    assert not first.exists()


def test_the_driver_s_own_shared_folder_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOEVAL_STATE_DIR", str(tmp_path))
    state_file("some-run").touch()
    with shared_folder("some-run") as folder:
        pass
    assert folder.exists()


def test_a_script_is_found_where_a_cluster_copied_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evals").mkdir()
    script = tmp_path / "evals/mine.py"
    script.touch()
    monkeypatch.chdir(tmp_path)
    there = json.dumps(
        {"module": None, "file": "/driver/code/evals/mine.py", "cwd": "/driver/code"}
    )
    assert json.loads(relocated(there))["file"] == str(script)
    script.unlink()
    assert json.loads(relocated(there))["file"] == "/driver/code/evals/mine.py"
    here = json.dumps({"module": None, "file": str(Path(__file__)), "cwd": "/elsewhere"})
    assert json.loads(relocated(here))["file"] == str(Path(__file__))
