"""Recording stays one model: its classes are counted, and the counts only shrink."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.contract.workspace import ROOT

CORE = ROOT / "packages/nanoeval-core/src/nanoeval_core"
RECORDER = ROOT / "packages/nanoeval-recorder/src/nanoeval_recorder"
NOT_WRITING = {
    "reading", "inspect_log", "_inspect_messages", "evallib_eval",  # they read what was written
    "mlflow_recorder",  # hands it to a server
}  # fmt: skip

FROM_RECORD_MATCH_TO_THE_FILE = 15
"""Of at most 20. Configs build a recorder before there is an event, so they are counted apart."""
ALL = 22


def recording_files() -> list[Path]:
    """Return the files of core that are about recording, and all that write of the recorder's."""
    core = [*CORE.glob("*record*.py"), CORE / "dialogues.py", CORE / "json_values.py"]
    recorder = RECORDER.rglob("*.py")
    return core + [
        file
        for file in recorder
        if not {*file.relative_to(RECORDER).with_suffix("").parts} & NOT_WRITING
    ]


def recording_classes() -> list[ast.ClassDef]:
    return [
        node
        for file in recording_files()
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    ]


def is_config(node: ast.ClassDef) -> bool:
    return node.name.endswith("Config")


def test_the_classes_of_recording_only_shrink() -> None:
    found = recording_classes()
    path = [node.name for node in found if not is_config(node)]
    assert len(path) <= FROM_RECORD_MATCH_TO_THE_FILE <= 20, path
    assert len(found) <= ALL


def test_each_record_method_is_written_once() -> None:
    """In the base class; besides it only where a final report is not an event like others."""
    methods = [
        (node.name, item.name)
        for node in recording_classes()
        for item in node.body
        if isinstance(item, ast.FunctionDef)
        and item.name
        in {"record_match", "record_sampling", "record_sample_completed"}
        | {"record_error", "record_extra"}
        and node.name != "RecorderProtocol"
    ]
    assert {owner for owner, _ in methods} == {"BaseRecorder"}
    assert len(methods) == 5
