"""Who may import whom: read from the imports themselves."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from tests.contract.workspace import (
    ROOT,
    all_packages,
    imported_modules,
    pyproject,
    source_files,
)

CORE = "nanoeval_core"
RAY = "nanoeval_ray"  # optional, so nobody imports it
MONITOR = "nanoeval_monitor"  # optional, so nobody imports it
PACKAGES = all_packages()
# What may be loaded by importing any module of a package that is not a heavy or optional path.
AT_IMPORT_TIME = {
    "nanoeval_core": {"chz", "pydantic", "typing_extensions"},
    "nanoeval_solvers": {"chz", "pydantic", "typing_extensions"},
    "nanoeval": {"chz"},
}
# Used where they happen to be installed, and named by the error where they are not.
IF_INSTALLED = {
    "nanoeval_core": {"pandas"},
    "nanoeval_recorder": {"pandas", "polars", "evals"},
    "nanoeval_runner": {"fsspec"},
    "nanoeval_solvers": {"pytest"},
    "nanoeval": {"evals"},
    "nanoeval_cli": set(),
}


def imports(folder: Path, *, at_import_time: bool = False) -> list[tuple[str, str]]:
    """`file:line` and the module for each import of a package."""
    return [
        (f"{file.relative_to(ROOT)}:{line}", module)
        for file in source_files(folder)
        for line, module in imported_modules(
            ast.parse(file.read_text("utf-8")), at_import_time=at_import_time
        )
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_depend_one_way(package: str) -> None:
    above = {
        "nanoeval": set(PACKAGES) - {RAY, MONITOR},
        "nanoeval_cli": set(PACKAGES) - {RAY, MONITOR, "nanoeval"},
        "nanoeval_computer": {"nanoeval_computer", CORE, "nanoeval_solvers"},
        RAY: {RAY, CORE, "nanoeval_runner"},
        MONITOR: {MONITOR, CORE, "nanoeval_runner", "nanoeval_recorder"},
    }
    allowed = above.get(package, {CORE, package})
    wrong = [
        f"{where} imports {module}"
        for where, module in imports(PACKAGES[package])
        if (top := module.partition(".")[0]) in PACKAGES and top not in allowed
    ]
    assert not wrong


@pytest.mark.parametrize("package", PACKAGES)
def test_nobody_reaches_into_the_private_modules_of_another_package(package: str) -> None:
    wrong = [
        f"{where} imports {module}"
        for where, module in imports(PACKAGES[package])
        if (parts := module.split("."))[0] in PACKAGES
        and parts[0] != package
        and any(part.startswith("_") and not part.startswith("__") for part in parts)
    ]
    assert not wrong


@pytest.mark.parametrize("package", PACKAGES)
def test_third_parties_are_declared(package: str) -> None:
    project = pyproject(PACKAGES[package])["project"]
    extras = [r for more in project.get("optional-dependencies", {}).values() for r in more]
    declared = {
        re.split(r"[^\w.-]", requirement)[0].lower().replace("-", "_")
        for requirement in [*project.get("dependencies", []), *extras]
    }
    declared |= {"yaml"} if "pyyaml" in declared else set()
    declared |= IF_INSTALLED.get(package, set())
    wrong = [
        f"{where} imports {module}"
        for where, module in imports(PACKAGES[package])
        if (top := module.partition(".")[0]) not in sys.stdlib_module_names
        and top != package
        and top.lower() not in declared
    ]
    assert not wrong


@pytest.mark.parametrize("package", AT_IMPORT_TIME)
def test_third_parties_at_import_time(package: str) -> None:
    allowed = AT_IMPORT_TIME[package] | set(PACKAGES) | set(sys.stdlib_module_names)
    wrong = [
        f"{where} imports {module}"
        for where, module in imports(PACKAGES[package], at_import_time=True)
        if module.partition(".")[0] not in allowed
    ]
    # Themselves imported when a client is first built or units are compared, or by pytest.
    deferred = (
        "_api/sdk.py",
        "_api/client.py",
        "_api/transport.py",
        "_api/wire.py",
        "_replies/quantities.py",
        "_pytest_plugin.py",
    )
    wrong = [line for line in wrong if not any(f"nanoeval_solvers/{f}" in line for f in deferred)]
    assert not wrong


def test_the_import_reader_sees_what_it_should() -> None:
    tree = ast.parse(
        "import a\n"
        "if TYPE_CHECKING:\n    import b\nelse:\n    import c\n"
        "def f():\n    import d\n"
        "class C:\n    from e import g\n"
    )
    assert {name for _, name in imported_modules(tree, at_import_time=True)} == {"a", "c", "e.g"}
    assert {name for _, name in imported_modules(tree, at_import_time=False)} == {
        "a",
        "b",
        "c",
        "d",
        "e.g",
    }
