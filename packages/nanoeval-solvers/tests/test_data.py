"""Questions from Parquet files and datasets, and evals of them in a few lines."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from nanoeval_core.errors import ConfigError
from nanoeval_core.task import Task
from nanoeval_solvers import mcq, short_answer
from nanoeval_solvers.data import FromRows

ROOT = Path(__file__).parents[3]
FIELDS = {
    "question": "question",
    "answers": "choices",
    "correct": "answer",
    "metadata": {"subject": "subject"},
}
ROWS = [
    {"question": "1 + 1?", "choices": ["1", "2"], "answer": 1, "subject": "sums"},
    {
        "question": "Capital of France?",
        "choices": ["Paris", "Lyon"],
        "answer": 0,
        "subject": "maps",
    },
]


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets", reason="datasets is not here: pip install datasets")
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not here: pip install pyarrow")
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def check(questions: list[mcq.Question]) -> None:
    assert [question.question for question in questions] == ["1 + 1?", "Capital of France?"]
    assert [question.answers for question in questions] == [["1", "2"], ["Paris", "Lyon"]]
    assert [question.correct_indices for question in questions] == [{1}, {0}]
    assert [question.metadata for question in questions] == [
        {"subject": "sums"},
        {"subject": "maps"},
    ]


def test_questions_of_a_parquet_file(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "q.parquet", ROWS)
    check(mcq.Question.from_parquet(path, FIELDS))
    one, _ = short_answer.Question.from_parquet(
        path, {"question": "question", "answers": lambda row: row["choices"][row["answer"]]}
    )
    assert one.answers == ("2",)


def test_what_is_no_parquet_file_is_told(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not here: pip install pyarrow")
    (tmp_path / "q.parquet").write_text("no table")
    for path in (tmp_path / "q.parquet", tmp_path / "missing.parquet"):
        with pytest.raises(ConfigError, match=re.escape(f"{path} cannot be read as Parquet: ")):
            mcq.Question.from_parquet(path, FIELDS)
    path = write_parquet(tmp_path / "r.parquet", ROWS)
    with pytest.raises(ConfigError, match=re.escape(f"{path}, row 0, column 'Q': not among")):
        mcq.Question.from_parquet(path, {"question": "Q"})


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_questions_of_a_dataset_in_a_folder(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "set"
    if kind == "parquet":
        write_parquet(folder / "test.parquet", ROWS)
    else:
        folder.mkdir()
        (folder / "test.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    check(mcq.Question.from_hf(str(folder), FIELDS))

    class Asked(FromRows, Task):
        question: str

    tasks = Asked.from_hf(str(folder))
    assert [(task.question_id, task.question) for task in tasks] == [
        ("0", "1 + 1?"),
        ("1", "Capital of France?"),
    ]


@pytest.mark.usefixtures("offline")
def test_a_dataset_that_is_not_there_is_told(tmp_path: Path) -> None:
    write_parquet(tmp_path / "set" / "test.parquet", ROWS)
    missing = str(tmp_path / "missing")
    with pytest.raises(ConfigError, match=re.escape(f"the dataset {missing!r} cannot be read: ")):
        mcq.Question.from_hf(missing, FIELDS)
    with pytest.raises(ConfigError, match=r"cannot be read: .*nosuch"):
        mcq.Question.from_hf(str(tmp_path / "set"), FIELDS, split="nosuch")


def blocks_of_docs() -> dict[str, str]:
    """The code blocks of docs/solvers.md that define an eval, by its class's name."""
    text = (ROOT / "docs/solvers.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return {m[1]: block for block in blocks if (m := re.search(r"class (\w+)\(MCQEval\)", block))}


def lines(code: str) -> int:
    return sum(bool(line.strip()) for line in code.splitlines())


@pytest.mark.usefixtures("offline")
def test_an_eval_of_a_dataset_takes_8_lines(tmp_path: Path) -> None:
    code = blocks_of_docs()["MMLU"]
    assert lines(code) <= 8
    write_parquet(tmp_path / "mmlu" / "test.parquet", ROWS)
    local = code.replace('"cais/mmlu"', repr(str(tmp_path / "mmlu"))).replace(', name="all"', "")
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(local, names)
    eval = names["MMLU"](solver=mcq.MockSolver(), shuffle_choices=False)
    tasks = asyncio.run(eval.get_tasks())
    assert [task.question.correct_indices for task in tasks] == [{1}, {0}]


def test_gpqa_takes_less_than_40_lines() -> None:
    assert lines(blocks_of_docs()["GPQA"]) < 40
    assert lines((ROOT / "examples/gpqa_api.py").read_text("utf-8")) < 40
