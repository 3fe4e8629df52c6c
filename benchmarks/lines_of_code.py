"""Lines of code for the four evals of docs/02_own_eval.md, and for the same under inspect_ai.

    python benchmarks/lines_of_code.py [--run]

Both versions are whole programs that run against the same scripted model server and print their
score; Inspect's are in `benchmarks/inspect_versions`. Both are laid out by `ruff format` with lines
of 100 characters. What counts is every line that is not blank, a comment or in a docstring. With
`--run` Inspect's versions are run too (CI runs ours as code of the docs).
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INSPECT = ROOT / "benchmarks" / "inspect_versions"
DOCUMENT = ROOT / "docs" / "02_own_eval.md"
EVALS = {
    "short_answer": "short answers, graded by a model",
    "right_choices": "several right choices, with images and groups",
    "custom": "custom, with attempts and groups",
    "tool_loop": "a loop with tools",
}


def lines_of(source: str) -> int:
    """How many lines of code `source` has, once it is laid out in the usual way."""
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length=100", "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=True)
    source = done.stdout
    kept = {
        number
        for number, line in enumerate(source.splitlines(), 1)
        if line.strip() and not line.strip().startswith("#")
    }
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            if ast.get_docstring(node) is not None:
                kept -= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return len(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", action="store_true", help="run Inspect's versions too")
    run = parser.parse_args().run
    document = DOCUMENT.read_text("utf-8")
    ours = re.findall(r"^```python\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    print("| eval | nanoeval | inspect_ai | ratio |")
    print("|---|---|---|---|")
    for (name, what), source in zip(EVALS.items(), ours, strict=True):
        a, b = lines_of(source), lines_of((INSPECT / f"{name}.py").read_text("utf-8"))
        print(f"| {what} | {a} | {b} | {a / b:.2f} |")
    sys.stdout.flush()
    if run:
        with tempfile.TemporaryDirectory() as folder:
            quiet = {"INSPECT_DISPLAY": "none", "INSPECT_LOG_DIR": folder, "OPENAI_API_KEY": "any"}
            os.environ.update(quiet)
            for name in EVALS:
                runpy.run_path(str(INSPECT / f"{name}.py"), run_name="__main__")


if __name__ == "__main__":
    main()
