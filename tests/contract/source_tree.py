"""The sources as graphs and sets: which file imports which, and who defines a name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from tests.contract.workspace import all_packages, imported_modules, source_files

Trees = Mapping[str, ast.Module]
"""Module name → the file's tree; a package's name stands for its `__init__`."""


def read_trees(packages: Mapping[str, Path] | None = None) -> dict[str, ast.Module]:
    """All modules of our packages, tests left out."""
    trees: dict[str, ast.Module] = {}
    for folder in (packages or all_packages()).values():
        for file in source_files(folder):
            parts = file.relative_to(folder / "src").with_suffix("").parts
            if parts[-1] == "__init__":
                parts = parts[:-1]
            trees[".".join(parts)] = ast.parse(file.read_text("utf-8"))
    return trees


def is_private(module: str) -> bool:
    return any(part.startswith("_") for part in module.split("."))


def import_graph(trees: Trees, *, at_import_time: bool = False) -> dict[str, set[str]]:
    """Module → the modules of ours that it imports: deferred and type-only imports too.

    Args:
        at_import_time: leave those out.
    """
    graph: dict[str, set[str]] = {}
    for module, tree in trees.items():
        graph[module] = {
            target
            for _, name in imported_modules(tree, at_import_time=at_import_time)
            if (target := _module_of(name, trees)) is not None and target != module
        }
    return graph


def _module_of(name: str, trees: Trees) -> str | None:
    """The module that `from a.b import c` or `import a.b` takes something from."""
    while name and name not in trees:
        name = name.rpartition(".")[0]
    return name or None


def circles(graph: Mapping[str, Iterable[str]]) -> list[tuple[str, ...]]:
    """Groups of nodes that reach each other, each sorted (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[tuple[str, ...]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph.get(node, ()):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(tuple(sorted(group)))

    for node in graph:
        if node not in index:
            visit(node)
    return sorted(found)


def types(trees: Trees) -> dict[str, list[str]]:
    """Name → the modules that define a class of that name, anywhere, or give it to another type."""
    found: dict[str, list[str]] = {}
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(module)
        for node in tree.body:
            named = re.match(r"(_?[A-Z]\w*[a-z]\w*)(: \w+)? = (?!TypeVar)", ast.unparse(node))
            if named and isinstance(node, (ast.Assign, ast.AnnAssign)):
                found.setdefault(named[1], []).append(module)
    return found


def own_names(tree: ast.AST) -> Iterator[str]:
    """Every name that a file makes: functions, classes, variables, attributes of `self`, slots."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
            if node.id == "__slots__":
                yield from _texts_next_to(node, tree)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and _is_self(node.value)
        ):
            yield node.attr


def _texts_next_to(name: ast.Name, tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and name in node.targets:
            yield from (c.value for c in ast.walk(node) if isinstance(c, ast.Constant))


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


class PrivateName(NamedTuple):
    """A name with an underscore that a file reads.

    Attributes:
        line: where.
        name: which.
        of: `self`; `object` for anything else; `elsewhere` for what is imported or read by a text.
    """

    line: int
    name: str
    of: Literal["self", "object", "elsewhere"]


def private_names(tree: ast.AST, package: str) -> Iterator[PrivateName]:
    """Yield each `something._name`, and what is imported from other packages than `package`.

    Names that are read by `getattr` and its kind count too; dunder names don't.
    """
    for node in ast.walk(tree):
        names: list[object] = []
        of: Literal["self", "object", "elsewhere"] = "elsewhere"
        if isinstance(node, ast.Attribute):
            names, of = [node.attr], "self" if _is_self(node.value) else "object"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in BY_TEXT:
            names = [c.value for c in node.args if isinstance(c, ast.Constant)]
            of = "self" if _is_self(node.args[0]) else "elsewhere"
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            paths = [f"{start}{alias.name}".split(".") for alias in node.names]
            names = [part for path in paths if path[0] != package for part in path]
        for name in names:
            if isinstance(name, str) and name.startswith("_") and not name.startswith("__"):
                yield PrivateName(node.lineno, name, of)


BY_TEXT = {"getattr", "setattr", "delattr", "hasattr", "attrgetter", "methodcaller"}


def literal_all(tree: ast.Module) -> list[str] | None:
    """A module's `__all__`, when it is a literal list or tuple."""
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == "__all__"
            and isinstance(node.value, (ast.List, ast.Tuple))
        ):
            return [ast.literal_eval(element) for element in node.value.elts]
    return None
