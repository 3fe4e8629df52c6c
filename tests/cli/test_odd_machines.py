"""Users without a home folder, or one that cannot be written: a sentence, and exit code 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_commands_in_a_terminal import piped
from tests.support.script import environment

pytestmark = pytest.mark.timeout(200)  # several processes a test

NOBODY = """
import os, pwd, sys
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
os.environ.pop("HOME", None)
from nanoeval_cli import main
main(sys.argv[1:])
"""
FOLDERS = ("HOME", "XDG_STATE_HOME", "NANOEVAL_LOG_DIR", "NANOEVAL_BACKUP_DIR")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    assert piped("new", "sums", folder=tmp_path).returncode == 0
    return tmp_path


def outcome(
    command: list[str], here: Path, env: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=env,
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=100,
    )


def without_folders(folder: Path, **more: str) -> dict[str, str]:
    return {k: v for k, v in environment(folder).items() if k not in FOLDERS} | more


@pytest.mark.parametrize(
    "words", [("run", "sums.py:Sums"), ("ls",), ("show",), ("samples",), ("resume",), ("clean",)]
)
def test_a_user_without_a_home_folder(words: tuple[str, ...], here: Path) -> None:
    done = outcome([sys.executable, "-c", NOBODY, *words], here, without_folders(here))
    assert done.returncode == 2, done.stderr
    assert "no home folder" in done.stderr
    assert "set " in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("has_stderr", [True, False])
def test_a_user_without_a_home_folder_who_says_where_everything_is_kept(
    has_stderr: bool, here: Path
) -> None:
    """Only the log of the run has no place. That is said, if there is where to say it."""
    script = NOBODY if has_stderr else f"import os; os.close(2){NOBODY}"
    kept = ("NANOEVAL_LOG_DIR", "NANOEVAL_BACKUP_DIR")
    env = without_folders(here, **{name: str(here / name) for name in kept})
    done = outcome([sys.executable, "-c", script, "run", "sums.py:Sums"], here, env)
    assert done.returncode == 0, done.stderr
    assert f"record: {here}" in done.stdout
    assert ("no log of this run: user" in done.stderr) == has_stderr


@pytest.mark.parametrize("variable", ["HOME", "NANOEVAL_LOG_DIR", "NANOEVAL_STATE_DIR"])
def test_a_folder_that_cannot_be_written(variable: str, here: Path) -> None:
    (here / "file").write_text("no folder")
    folders = without_folders(here, HOME=str(here / "home"))
    env = {**folders, variable: str(here / "file" / "x")}
    done = outcome([sys.executable, "-m", "nanoeval", "run", "sums.py:Sums"], here, env)
    assert done.returncode == 2, done.stderr
    assert str(here / "file") in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("closed", ["", ">&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_hold_no_command_up(closed: str, here: Path) -> None:
    """Nor does a record or a state file get the number of stdout, to be written into."""
    for words in ("run sums.py:Sums", "ls", "show", "--help"):
        command = f"exec {sys.executable} -m nanoeval {words} {closed}"
        done = outcome(["sh", "-c", command], here, environment(here))
        assert done.returncode == 0, (words, done.stderr)
        assert bool(done.stdout) == (">&-" not in closed), words
    (record,) = (here / "records").iterdir()
    assert all(line.startswith("{") for line in record.read_text().splitlines())


def test_doctor_names_what_is_wrong_with_them(here: Path) -> None:
    command = [sys.executable, "-c", NOBODY, "doctor", "--offline"]
    done = outcome(command, here, without_folders(here))
    assert done.returncode == 1
    assert "set NANOEVAL_LOG_DIR to a folder of yours" in done.stdout


def test_what_is_written_for_a_person_cannot_be(here: Path) -> None:
    (here / "file").write_text("no folder")
    done = piped("new", "file/my_eval", folder=here)
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write file/my_eval.py (")
    assert len(done.stderr.splitlines()) == 1
