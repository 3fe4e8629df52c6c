"""Where the workspace is, and what its files say: shared by the contract tests."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def all_packages() -> dict[str, Path]:
    """Every package of the workspace by import name, those that joined later included."""
    return {
        folder.name.replace("-", "_"): folder
        for folder in sorted((ROOT / "packages").iterdir())
        if (folder / "pyproject.toml").exists()
    }


def pyproject(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))


def source_files(folder: Path) -> Iterator[Path]:
    """The Python files of a package, its tests left out."""
    yield from sorted((folder / "src").rglob("*.py"))


def imported_modules(tree: ast.Module, *, at_import_time: bool) -> Iterator[tuple[int, str]]:
    """Line and full name of what a file imports.

    Args:
        tree: the file.
        at_import_time: leave out imports inside of functions and of `if TYPE_CHECKING:`.
    """
    nodes = [*tree.body]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used here"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        if at_import_time and (_is_function(node) or _is_type_checking(node)):
            nodes += node.orelse if isinstance(node, ast.If) else []
            continue
        nodes += ast.iter_child_nodes(node)


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
