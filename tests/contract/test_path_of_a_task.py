"""One no-op task, from `run(spec)` to its printed summary: how much of our code it enters.

    python tests/contract/test_path_of_a_task.py    prints what is entered, file by file

An ordinary eval (its own tasks and summary, all else as it is by default), in this process, with
the default recorder, everything imported before. The numbers only shrink: they are what a newcomer
has to read, and what every run pays.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

FILES = 40
FUNCTIONS = 247

ROOT = Path(__file__).parents[2]

TRACED = """
import asyncio, collections, json, sys, threading
import chz
from nanoeval import Eval, EvalSpec, RunnerArgs, Task, run

@chz.chz
class Noop(Eval[Task, int]):
    def get_name(self):
        return "noop"

    async def get_tasks(self):
        return [Task(question_id="q")]

    async def evaluate(self, task):
        return 1

    async def get_summary(self, results):
        return {"n": len(results)}

def spec():
    return EvalSpec(eval=Noop(), runner=RunnerArgs())

def profile(frame, event, argument):
    code = frame.f_code
    if event == "call" and "/packages/nanoeval" in code.co_filename:
        entered[code.co_filename].add(f"{code.co_qualname}:{code.co_firstlineno}")

entered = collections.defaultdict(set)
asyncio.run(run(spec()))  # imports all that is imported on the way
traced = spec()
threading.setprofile(profile)
sys.setprofile(profile)
asyncio.run(run(traced))
sys.setprofile(None)
threading.setprofile(None)
print(json.dumps({file: sorted(names) for file, names in entered.items()}))
"""


def entered() -> dict[str, list[str]]:
    """Return the functions of ours that the task enters, by file."""
    with tempfile.TemporaryDirectory() as folder:
        home = {"HOME": folder, "XDG_STATE_HOME": f"{folder}/home"}
        places = home | {"NANOEVAL_STATE_DIR": f"{folder}/state"}
        done = subprocess.run(
            [sys.executable, "-c", TRACED],
            cwd=ROOT,
            env=os.environ | places,
            stdout=subprocess.PIPE,
            check=True,
        )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@functools.cache
def entered_at_least() -> dict[str, list[str]]:
    """Return what each of several traces entered: a slow one lasts until more is done meanwhile."""
    found = entered()
    for _ in range(9):
        if len(found) <= FILES and sum(map(len, found.values())) <= FUNCTIONS:
            break
        again = entered()
        found = {file: sorted({*found[file]} & {*again[file]}) for file in found.keys() & again}
    return found


def test_a_task_enters_no_more_of_our_code_than_it_did() -> None:
    found = entered_at_least()
    assert len(found) <= FILES
    assert sum(map(len, found.values())) <= FUNCTIONS
    assert len(found) > 20, "it traced a run"


def test_the_walk_through_the_architecture_names_each_of_its_files_once() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    walk = text.partition("## One task, from")[2].partition("\n## ")[0]
    named = Counter(name.rpartition("/")[2] for name in re.findall(r"`([\w/]+\.py)`", walk))
    entered_files = {Path(file).name for file in entered_at_least()}
    assert not entered_files - named.keys()
    assert [name for name, times in named.items() if times > 1] == []
    there = {file.name for file in (ROOT / "packages").glob("*/src/**/*.py")}
    assert not named.keys() - there


if __name__ == "__main__":
    for file, names in sorted(entered().items()):
        print(f"{len(names):3}  {Path(file).relative_to(ROOT)}: {', '.join(names)}")
