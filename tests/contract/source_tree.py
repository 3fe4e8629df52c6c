"""The sources as graphs and sets: which file imports which, and who defines a name."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

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


def import_graph(trees: Trees) -> dict[str, set[str]]:
    """Module → the modules of ours that it imports: deferred and type-only imports too."""
    graph: dict[str, set[str]] = {}
    for module, tree in trees.items():
        graph[module] = {
            target
            for _, name in imported_modules(tree, at_import_time=False)
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


def classes(trees: Trees) -> dict[str, list[str]]:
    """Class name → the modules that define one at module level."""
    found: dict[str, list[str]] = {}
    for module, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(module)
    return found


def defined_names(tree: ast.AST) -> Iterator[str]:
    """Every name that a file gives something: functions, classes, variables, attributes, fields."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value  # __slots__, setdefault("_open", …)


def underscored_attributes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each `something._name` that is read, dunder names left out."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
        ):
            yield node.lineno, node.attr


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
