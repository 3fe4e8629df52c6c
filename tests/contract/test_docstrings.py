"""Docstrings of functions say what to do: "Return …"; those of properties what they are."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.contract.workspace import ROOT, all_packages, source_files

VERBS = """
Abandon Add Announce Answer Append Attempt Await Bring Build Call Cancel Carry Change Check
Choose Claim Close Collect Commit Compare Compute Configure Connect Copy Count Create
Cut Decide Delete Disconnect Divide Do Drop End Enter Evaluate Fetch Finish Give Go
Grade Hand Have Hold Ignore Join Keep Kill Lease Leave Let Limit List Load Lock Log
Look Lower Make Mark Name Note Notice Number Open Page Post Prepare Print Put Queue
Raise Read Record Refuse Release Remember Remove Renew Reply Report Requeue Restore Retry
Return Rewind Run Say Score Send Serve Set Show Solve Sort Start Stop Store Sum
Surround Take Talk Tell Turn Undo Unlock Update Use Verify Wait Wake Work Write Yield
"""
"""What a first line may begin with. A verb that is missing is added; no other word is."""


def first_lines() -> Iterator[tuple[str, bool, str]]:
    """Yield where a function is, whether it is a property, and its docstring's first line."""
    for folder in all_packages().values():
        for file in source_files(folder):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    said = ast.get_docstring(node)
                    decorators = " ".join(map(ast.unparse, node.decorator_list))
                    is_property = "property" in decorators or ".setter" in decorators
                    if said:
                        place = f"{file.relative_to(ROOT)}:{node.lineno} {node.name}"
                        yield place, is_property, said.splitlines()[0]


def test_a_function_says_in_the_imperative_what_it_does() -> None:
    lines = [(place, line) for place, is_property, line in first_lines() if not is_property]
    wrong = [f"{place}: {line}" for place, line in lines if first_word(line) not in VERBS.split()]
    assert not wrong
    assert len(lines) > 1000


def test_a_property_says_what_it_is() -> None:
    lines = [(place, line) for place, is_property, line in first_lines() if is_property]
    assert not [f"{place}: {line}" for place, line in lines if first_word(line) == "Return"]


def first_word(line: str) -> str:
    return line.split()[0].rstrip(",:")
