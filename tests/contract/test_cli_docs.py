"""The command line's page says what the commands say."""

from __future__ import annotations

from tests.support.script import ROOT, run_python


def test_the_reference_of_the_commands_is_current(tmp_path) -> None:
    done = run_python(ROOT / "scripts" / "cli_docs.py", "--check", folder=tmp_path)
    assert done.returncode == 0, done.stderr
