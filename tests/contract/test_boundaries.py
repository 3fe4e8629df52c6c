"""What the sources promise: who imports whom, what is public, a name for one thing."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.contract.source_tree import (
    circles,
    import_graph,
    is_private,
    literal_all,
    own_names,
    private_names,
    read_trees,
    types,
)
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
    # anyio comes with evals, compression with Python 3.14
    "nanoeval_recorder": {"pandas", "polars", "evals", "anyio", "compression"},
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
    declared |= {name.partition(".")[0] for name in declared}  # backports.zstd
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
        "_api/http1.py",
        "_api/limit_rule.py",
        "_api/limiter.py",
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


TREES = read_trees()
META = "nanoeval"

BORNE_TWICE = {"Question", "Answer", "MockSolver"}  # published so
"""Names that two classes may bear."""

BORNE_BY_ALIASES = {"Ended", "Problem", "Row"}
"""Names that public modules give to types of their own, as which they are imported."""

PUBLIC_WITH_UNDERSCORE = {"_asdict", "_replace", "_fields", "_make", "_exit", "_current_frames"} | {
    "_make_default_run_spec",
    "_unregister_task",
}
"""Documented names: of NamedTuple, os, sys and asyncio; and for subclasses of RecorderConfig."""

PRIVATE_NAMES = {
    "nanoeval_runner.command_line: _doc": "the text that chz.field(doc=…) was given, for --help",
}
"""Private names of other people's code that have no public one. Tests fail without them."""

NEEDS_MORE = {"nanoeval_recorder.evallib_eval"}
"""Public modules whose names the meta-package loads lazily: they need the evals package."""


def public_modules() -> set[str]:
    return {
        module
        for module in TREES
        if not is_private(module)
        and "." in module
        and module.split(".")[0] not in (META, MONITOR, RAY)
    }


def test_there_is_something_to_look_at() -> None:
    assert len(TREES) > 200
    assert len(public_modules()) > 50
    assert sum(map(len, import_graph(TREES).values())) > 500
    assert sum(map(len, types(TREES).values())) > 250


def test_no_files_import_each_other_in_a_circle() -> None:
    assert not circles(import_graph(TREES))


LAYERS = "what each imports when it is loaded is above it, or in its line"


@pytest.mark.parametrize(
    "package",
    [f"nanoeval_{name}" for name in ("core", "solvers", "recorder", "computer", "monitor")],
)
def test_the_layers_that_a_package_tells_of_are_so(package: str) -> None:
    told = " ".join((ast.get_docstring(TREES[package]) or "").split())
    assert LAYERS in told
    layer = layers_of(ast.get_docstring(TREES[package]) or "")
    parts = {
        module: module.split(".")[1]
        for module in TREES
        if module.startswith(f"{package}.") and not module.endswith("__main__")
    }
    assert layer.keys() == set(parts.values())
    loaded = import_graph(TREES, at_import_time=True)
    upward = [
        f"{module} imports {target}"
        for module, part in parts.items()
        for target in loaded[module]
        if target in parts and layer[parts[target]] > layer[part]
    ]
    assert not upward


def layers_of(docstring: str) -> dict[str, int]:
    """Return the number of the line for each name of the first indented block of a docstring."""
    block = docstring.partition(":\n\n")[2].partition("\n\n")[0]
    return {
        name: number
        for number, line in enumerate(block.splitlines())
        for name in re.findall(r"\w+", re.split(r"\s{2,}", line.strip())[0])
    }


def test_no_two_types_bear_one_name() -> None:
    twice = {
        name: modules
        for name, modules in types(TREES).items()
        if len(modules) > 1 and name not in BORNE_TWICE | BORNE_BY_ALIASES
    }
    assert not twice


def test_private_names_of_other_peoples_code_are_not_used() -> None:
    found = foreign_private_names(TREES)
    assert not {use: lines for use, lines in found.items() if use not in PRIVATE_NAMES}
    assert not PRIVATE_NAMES.keys() - found.keys(), "these are not used any more"


def foreign_private_names(trees: Mapping[str, ast.Module]) -> dict[str, list[int]]:
    """Return `module: name` of each private name that is not ours, with the lines.

    Ours is what the module makes, or what it imports of its package does; of `self`, what any
    module of the package makes.
    """
    names = {module: set(own_names(tree)) for module, tree in trees.items()}
    graph = import_graph(trees)
    found: dict[str, list[int]] = {}
    for module, tree in trees.items():
        package = module.split(".")[0]
        ours = {other for other in trees if other.split(".")[0] == package}
        known = {
            "self": set().union(*(names[other] for other in ours)),
            "object": names[module].union(*(names[other] for other in ours & graph[module])),
            "elsewhere": set(),
        }
        for line, name, of in private_names(tree, package):
            if name not in known[of] | PUBLIC_WITH_UNDERSCORE:
                found.setdefault(f"{module}: {name}", []).append(line)
    return found


def test_public_modules_say_what_they_give() -> None:
    assert not {
        module
        for module, tree in TREES.items()
        if not is_private(module)
        and module.partition(".")[0] != META
        and "." in module
        and literal_all(tree) is None
        and _defines_anything(tree)
    }


def _defines_anything(tree: ast.Module) -> bool:
    return any(not isinstance(node, ast.Expr) for node in tree.body)


def test_every_public_module_is_reached_through_nanoeval() -> None:
    given = {
        node.module
        for module, tree in TREES.items()
        if module.split(".")[0] == META
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module is not None
        and any(alias.name == "*" for alias in node.names)
    }
    wanted = {module for module in public_modules() if _defines_anything(TREES[module])}
    missing = wanted - given - NEEDS_MORE
    assert not missing, "packages/nanoeval/src/nanoeval needs a file: `from … import *`"
    assert not {module for module in given if module not in TREES}


def test_the_meta_package_holds_names_and_paths_only() -> None:
    files = sorted((PACKAGES[META] / "src" / META).rglob("*.py"))
    assert len(files) > 50
    assert sum(file.read_text("utf-8").count("\n") for file in files) <= 400
    allowed = (ast.Import, ast.ImportFrom, ast.Expr, ast.If)
    wrong = {
        f"{module}: {ast.unparse(node)[:60]}"
        for module, tree in TREES.items()
        if module.split(".")[0] == META and module not in (META, f"{META}._lazy")
        for node in tree.body
        if not isinstance(node, allowed)
    }
    assert not wrong


# --- the readers see what they should


def test_circles_are_found_however_deferred() -> None:
    trees = {
        "a": ast.parse("def f():\n    from b import x\n"),
        "b": ast.parse("if TYPE_CHECKING:\n    import c\n"),
        "c": ast.parse("from a import f\nfrom d import g\n"),
        "d": ast.parse("import os\n"),
    }
    assert circles(import_graph(trees)) == [("a", "b", "c")]


def test_names_of_other_peoples_objects_are_told_from_ours() -> None:
    trees = {
        "p.a": ast.parse(
            "from p.b import helper\n"
            "from theirs._inside import thing\n"
            "import theirs._more\n"
            "class Ours(Base):\n"
            "    __slots__ = ('_slot',)\n"
            "    def __init__(self, connection):\n"
            "        self._own = connection._theirs\n"
            "        connection._written = self._own\n"
            "        self._slot = self._far + helper._near + connection._far\n"
            "        getattr(connection, '_named')\n"
        ),
        "p.b": ast.parse("class Helper:\n    def _near(self): ...\n"),
        "p.c": ast.parse("class Base:\n    def __init__(self):\n        self._far = '_theirs'\n"),
    }
    assert [use.removeprefix("p.a: ") for use in foreign_private_names(trees)] == [
        "_inside",
        "_more",
        "_theirs",
        "_written",
        "_named",
        "_far",
    ]


def test_imports_of_names_count_for_their_module() -> None:
    trees = {"p": ast.parse(""), "p.m": ast.parse(""), "q": ast.parse("from p.m import f")}
    assert import_graph(trees)["q"] == {"p.m"}
    assert [name for _, name in imported_modules(trees["q"], at_import_time=False)] == ["p.m.f"]
