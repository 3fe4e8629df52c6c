"""What the documents show works: commands, code and links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.script import ROOT, run_python

DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path, language: str) -> list[str]:
    return [
        code for found, code in FENCE.findall(document.read_text("utf-8")) if str(found) == language
    ]


def test_the_readme_opens_with_two_commands() -> None:
    demo, test, *_ = blocks(ROOT / "README.md", "bash")
    for command, script in ((demo, "demo"), (test, "dev:test")):
        assert command.count("\n") == 1
        assert command.endswith(f".venv/bin/hatch run {script}\n")


def test_continuous_integration_calls_the_readmes_test_command() -> None:
    script = (ROOT / ".ci/run").read_text("utf-8")
    assert "README.md" in script
    assert 'bash -c "$test_command"' in script


@pytest.mark.parametrize("package", sorted((ROOT / "packages").iterdir()), ids=lambda p: p.name)
def test_a_package_says_in_five_lines_what_it_is_for(package: Path) -> None:
    title, first, *more = (package / "README.md").read_text("utf-8").strip().split("\n\n")
    assert title == f"# {package.name}"
    assert 3 <= len(first.splitlines()) <= 5
    assert not more or package.name == "nanoeval", "what else there is to say is in docs"


PYTHON_BLOCKS = [
    pytest.param(code, id=f"{document.relative_to(ROOT)}:{number}")
    for document in DOCUMENTS
    for number, code in enumerate(blocks(document, "python"), start=1)
]


@pytest.mark.parametrize("code", PYTHON_BLOCKS)
def test_python_blocks_run(code: str, tmp_path: Path) -> None:
    script = tmp_path / "block.py"
    script.write_text(code, "utf-8")
    done = run_python("-W", "error", script, folder=tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_an_eval_takes_at_most_half_as_many_lines_again_as_under_inspect(tmp_path: Path) -> None:
    done = run_python(ROOT / "benchmarks" / "lines_of_code.py", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout in (ROOT / "docs" / "comparison.md").read_text("utf-8")
    ratios = [float(ratio) for ratio in re.findall(r"([\d.]+) \|$", done.stdout, re.MULTILINE)]
    assert len(ratios) == 4
    assert max(ratios) <= 1.5


@pytest.mark.parametrize(
    "document",
    [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))],
    ids=lambda document: document.name,
)
def test_pages_for_users_name_public_modules_by_their_public_paths(document: Path) -> None:
    if document.name == "architecture.md":  # it is about the packages themselves
        return
    # A slash follows where a file is meant, a hyphen stands where a package to install is.
    homes = r"\bnanoeval_(?:core|runner|solvers|recorder|cli|computer)\b(?!/)"
    assert not re.findall(homes, document.read_text("utf-8"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8"))
    local = [link.partition("#")[0] for link in links if "://" not in link]
    missing = [link for link in local if link and not (document.parent / link).exists()]
    assert not missing
