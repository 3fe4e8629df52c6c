"""A run in a notebook's running loop: one output that is replaced, then the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.script import ROOT, environment

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

CELL = """
from nanoeval import EvalSpec, RunnerArgs, run
from examples.gpqa_api import GPQAEval
from nanoeval.solvers.mcq import MockSolver
solver = MockSolver(latency=4)
summary = await run(EvalSpec(eval=GPQAEval(solver=solver), runner=RunnerArgs(concurrency=40)))
"""


@pytest.mark.filterwarnings("ignore")
def test_progress_in_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    updates = []

    class Client(nbclient.NotebookClient):  # type: ignore[misc, name-defined, unused-ignore]
        def process_message(self, message, cell, index):
            if message["msg_type"] == "update_display_data":
                updates.append(message["content"]["data"]["text/plain"])
            return super().process_message(message, cell, index)

    Client(notebook, timeout=50, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = notebook.cells[0].outputs
    shown = [output["data"]["text/plain"] for output in outputs if "data" in output]
    assert any("in flight" in update for update in updates)
    assert "\n".join(shown).count("68/68") == 1
    assert not any("\x1b" in text for text in shown + updates)
