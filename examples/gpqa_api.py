"""GPQA with the OpenAI API, on a sample of its kind unless `data` names the real file."""

import asyncio
import csv
import io
import urllib.request
from pathlib import Path

import chz
from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.errors import ConfigError
from nanoeval.setup import nanoeval_entrypoint
from nanoeval.solvers.mcq import MCQEval, Question
from nanoeval.solvers.mcq_api import OpenAIAPIMCQSolver

SAMPLE = str(Path(__file__).with_name("gpqa_sample.csv"))
CHOICES = ["Correct Answer", *(f"Incorrect Answer {i}" for i in (1, 2, 3))]
FIRST = {0}


def read_text(data: str) -> str:
    try:
        if not data.startswith(("http://", "https://")):
            return Path(data).read_text("utf-8-sig")
        with urllib.request.urlopen(data, timeout=60) as response:
            return str(response.read(), "utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"data={data!r} cannot be read: {error}") from error


def load_questions(data: str) -> list[Question]:
    """The questions of a CSV with GPQA's columns, at a path or URL."""
    reader = csv.DictReader(io.StringIO(read_text(data), newline=""), strict=True)
    questions: list[Question] = []
    try:
        for number, row in enumerate(reader, start=2):
            where = f"data={data!r}, row {number} (the header is row 1)"
            if None in row:
                raise ConfigError(f"{where}: more cells than columns: is a comma not quoted?")
            for column in ("Question", *CHOICES):
                if not (row.get(column) or "").strip():
                    problem = "empty" if column in row else f"not among the columns {list(row)}"
                    raise ConfigError(f"{where}, column {column!r}: {problem}")
            choices = tuple(row[column].strip() for column in CHOICES)
            name = row.get("Record ID") or f"row-{number}"
            questions.append(
                Question(
                    id=name, question=row["Question"], answers=list(choices), correct_indices=FIRST
                )
            )
    except csv.Error as error:
        raise ConfigError(f"data={data!r}, row {len(questions) + 2}: {error}") from error
    return questions


@chz.chz
class GPQAEval(MCQEval):
    data: str = chz.field(default=SAMPLE, doc="A CSV with GPQA's columns: a path or a URL.")

    def get_name(self) -> str:
        return "gpqa-sample" if self.data == SAMPLE else "gpqa"

    async def get_questions(self) -> list[Question]:
        return await asyncio.to_thread(load_questions, self.data)


if __name__ == "__main__":
    solver = OpenAIAPIMCQSolver(model="gpt-4o-mini")
    spec = EvalSpec(eval=GPQAEval(solver=solver), runner=RunnerArgs(concurrency=50))
    nanoeval_entrypoint(run(spec))
