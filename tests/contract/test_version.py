"""One version, the same in every package: read from the files, not from what is installed."""

from __future__ import annotations

import pytest

from tests.contract.workspace import all_packages, pyproject

PACKAGES = all_packages()
VERSION = pyproject(PACKAGES["nanoeval_core"])["project"]["version"]


@pytest.mark.parametrize("package", PACKAGES)
def test_version_and_pins(package: str) -> None:
    project = pyproject(PACKAGES[package])["project"]
    assert project["version"] == VERSION
    extras = [r for more in project.get("optional-dependencies", {}).values() for r in more]
    ours = [
        requirement
        for requirement in [*project.get("dependencies", []), *extras]
        if requirement.startswith("nanoeval")
    ]
    assert all(requirement.split("==")[1:] == [VERSION] for requirement in ours), ours


@pytest.mark.parametrize("package", PACKAGES)
def test_typed(package: str) -> None:
    assert (PACKAGES[package] / "src" / package / "py.typed").exists()
    assert "Typing :: Typed" in pyproject(PACKAGES[package])["project"]["classifiers"]
