"""Make a page of the API reference for each public module: run by `mkdocs build`."""

from __future__ import annotations

import ast
from pathlib import Path

import mkdocs_gen_files

SOURCE = Path(__file__).resolve().parent.parent / "packages/nanoeval/src"


def public_modules() -> list[str]:
    """The dotted names below `nanoeval` without an underscore in them, sorted."""
    names = []
    for file in sorted((SOURCE / "nanoeval").rglob("*.py")):
        parts = list(file.relative_to(SOURCE).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        if not any(part.startswith("_") for part in parts):
            names.append(".".join(parts))
    return sorted(names)


def summary_line(module: str) -> str:
    path = SOURCE / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    return docstring.partition("\n")[0]


nav = mkdocs_gen_files.Nav()
index = ["# API reference", "", "Every public name, by the module it is imported from.", ""]
for module in public_modules():
    page = f"{module.replace('.', '/')}.md"
    nav[tuple(module.split("."))] = page
    index.append(f"- [`{module}`]({page}): {summary_line(module)}")
    with mkdocs_gen_files.open(f"reference/{page}", "w") as file:
        file.write(f"# `{module}`\n\n::: {module}\n")
with mkdocs_gen_files.open("reference/index.md", "w") as file:
    file.write("\n".join(index) + "\n")
with mkdocs_gen_files.open("reference/SUMMARY.md", "w") as file:
    file.write("- [Modules](index.md)\n")
    file.writelines(nav.build_literate_nav())
