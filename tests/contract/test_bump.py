"""scripts/bump.py writes the version wherever it is stated, and nowhere else."""

from __future__ import annotations

import importlib.util

import pytest

from tests.contract.workspace import ROOT, all_packages, pyproject

_spec = importlib.util.spec_from_file_location("bump", ROOT / "scripts/bump.py")
assert _spec is not None
assert _spec.loader is not None
bump_script = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bump_script)


@pytest.mark.parametrize("package", all_packages())
def test_bump_changes_the_version_and_the_pins_alone(package: str) -> None:
    folder = all_packages()[package]
    old = pyproject(folder)["project"]["version"]
    text = (folder / "pyproject.toml").read_text("utf-8")
    bumped = bump_script.bump(text, "9.8.7")
    assert bumped != text
    assert f"=={old}" not in bumped
    assert 'version = "9.8.7"' in bumped
    assert bumped.replace("9.8.7", old) == text


def test_bump_refuses_what_is_no_version() -> None:
    with pytest.raises(SystemExit, match="'2' is no version"):
        bump_script.main("2")
