"""`nanoeval new`."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template

import click
from nanoeval_core.errors import ConfigError

from nanoeval_cli._command import subcommand
from nanoeval_cli._output import write, writing

KINDS = ("mcq", "short_answer", "custom", "agent")


@subcommand("new")
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(KINDS), default="mcq", help=f"{', '.join(KINDS)}; mcq by default."
)
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
def command(name: str, kind: str, force: bool) -> int:
    """Write a small eval that runs as it is, and its test.

    \b
      nanoeval new my_eval                       multiple choice
      nanoeval new my_eval --kind short_answer   answers in a few words, graded
      nanoeval new my_eval --kind custom         tasks, attempts and a score of its own
      nanoeval new my_eval --kind agent          a model that works with tools
    """
    path = Path(name)
    name = path.stem
    if not re.fullmatch(r"[A-Za-z_]\w*", name) or keyword.iskeyword(name):
        better = re.sub(r"\W+", "_", name).strip("_").lower()
        if not re.match("[a-z]", better) or keyword.iskeyword(better):
            better = "my_eval"
        raise ConfigError(f"{name!r} is no name for a module: try `nanoeval new {better}`")
    module, test = path.with_name(f"{name}.py"), path.with_name(f"test_{name}.py")
    there = [str(file) for file in (module, test) if file.exists()]
    if there and not force:
        verb = "are" if len(there) > 1 else "is"
        raise ConfigError(f"{' and '.join(there)} {verb} already there: --force overwrites")
    names = {
        "title": name.replace("_", " ").strip().capitalize(),
        "cls": "".join(part[:1].upper() + part[1:] for part in name.split("_")) or "MyEval",
        "name": name,
        "file": module.name,
    }
    with writing(f"cannot write {module}", "give a path in a folder that can be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        for file, template in ((module, f"{kind}.txt"), (test, f"test_{kind}.txt")):
            text = files("nanoeval_cli").joinpath("_new", template).read_text("utf-8")
            file.write_text(Template(text).substitute(names), "utf-8")
    write(f"Wrote {module} and {test}. Next:")
    write(f"  nanoeval run {module}:{names['cls']}")
    write(f"  pytest {test}")
    write(f"  nanoeval run {module}:{names['cls']} --help")
    return 0
