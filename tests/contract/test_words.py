"""The words of docs, docstrings, comments and names: plain, American, and those of the glossary."""

from __future__ import annotations

import ast
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.contract.source_tree import read_trees
from tests.contract.workspace import ROOT, all_packages, source_files

DIALECT = (
    r"anew|beside|whoever|whatsoever|but for|(?-i:is none|are none)|in vain|of its own accord"
    r"|lest|hitherto|thereof|whilst|amongst|bury|buried|winds? down"
)
BRITISH = (
    r"\w*(?:behaviour|colour|favour|honour|neighbour|labour|flavour)\w*|centre[sd]?|metre[s]?|grey"
    r"|analys(?:e|ed|es|ing)|catalogue[sd]?|licence|defence|artefacts?|programme[s]?|judgement"
    r"|(?:summar|real|organ|normal|optim|serial|initial|recogn|util|minim|maxim|general|final|special"
    r"|priorit|synchron|token|categor|emphas|standard|author|central|random|visual|neutral)is"
    r"(?:e|ed|es|ing|ation)"
    r"|(?:label|model|travel|signal|level|fuel|tunnel)l(?:ed|ing)"
)
BANNED = re.compile(rf"\b(?:{DIALECT}|{BRITISH})\b", re.IGNORECASE)

UNTOLD = "beat|bury|crowd|dice|fate|hop|news|nowhere|suspects?"
"""What names said that did not explain themselves."""

DOCS = ("README.md", "CHANGELOG.md", "docs", "packages")


def texts() -> Iterator[tuple[str, str, str]]:
    """Area, place and text of each page and docstring."""
    for start in DOCS:
        path = ROOT / start
        for page in [path] if path.is_file() else sorted(path.rglob("*.md")):
            place = str(page.relative_to(ROOT))
            area = place.split("/")[1] if place.startswith("packages/") else place.split("/")[0]
            yield area.replace("-", "_"), place, _prose(page.read_text("utf-8"))
    for module, tree in read_trees().items():
        area = module.split(".")[0]
        for node in ast.walk(tree):
            if isinstance(
                node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            ) and (docstring := ast.get_docstring(node)):
                place = f"{module}:{getattr(node, 'name', '')}"
                yield area, place, docstring


def comments(file: Path) -> Iterator[str]:
    """Yield the comments of a source file; of one for browsers, all of it."""
    if file.suffix != ".py":
        yield file.read_text("utf-8")
        return
    with file.open("rb") as lines:
        for token in tokenize.tokenize(lines.readline):
            if token.type == tokenize.COMMENT:
                yield token.string


def names(file: Path) -> Iterator[str]:
    """Yield the name of a source file and those in it, as words: `_lock_files` is "lock files"."""
    yield file.stem.replace("_", " ")
    with file.open("rb") as lines:
        for token in tokenize.tokenize(lines.readline):
            if token.type == tokenize.NAME:
                yield re.sub(r"(?<=[a-z])(?=[A-Z])", " ", token.string).replace("_", " ")


def _prose(page: str) -> str:
    """A page without its code: that is held by ruff and by the names it calls."""
    page = re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`|\]\([^)]*\)", "", page)


def banned() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for area, place, text in texts():
        for match in BANNED.finditer(text):
            found.setdefault(area, []).append(f"{place}: {match.group()}")
    return found


def test_there_is_something_to_read() -> None:
    areas = Counter(area for area, _, _ in texts())
    assert areas["docs"] > 10
    assert areas["nanoeval_runner"] > 300
    assert BANNED.findall("It is none of ours, summarised anew") == [
        "is none",
        "summarised",
        "anew",
    ]


def test_words_of_the_dialect_do_not_come_back() -> None:
    assert not banned()


def test_comments_are_written_in_the_same_words() -> None:
    said = [
        (file, text)
        for folder in all_packages().values()
        for file in [*source_files(folder), *(folder / "src").rglob("static/*.[cj]s*")]
        for text in comments(file)
    ]
    assert len(said) > 1000
    assert any(file.suffix == ".css" for file, _ in said)
    found = {
        f"{file.relative_to(ROOT)}: {match[0]}" for file, t in said for match in BANNED.finditer(t)
    }
    assert not found


def test_names_are_american_and_say_what_they_are() -> None:
    wrong = re.compile(rf"\b(?:{DIALECT}|{BRITISH}|{UNTOLD})\b", re.IGNORECASE)
    used = {
        (file, name)
        for folder in all_packages().values()
        for file in source_files(folder)
        for name in names(file)
    }
    assert len(used) > 10_000
    found = {f"{file.relative_to(ROOT)}: {name}" for file, name in used if wrong.search(name)}
    assert not found


def test_the_glossary_has_its_terms_once() -> None:
    rows = re.findall(
        r"^\| \*\*(.+?)\*\*", (ROOT / "docs/glossary.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(rows) == len(set(rows)) >= 25


if __name__ == "__main__":
    for area, places in sorted(banned().items()):
        print(area, len(places))
        for place in places:
            print("   ", place)
