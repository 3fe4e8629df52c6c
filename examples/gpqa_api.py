"""GPQA with the OpenAI API, on a sample of its kind unless `data` names the real file."""

import asyncio
from pathlib import Path

import chz
from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.setup import nanoeval_entrypoint
from nanoeval.solvers.mcq import MCQEval, Question
from nanoeval.solvers.mcq_api import OpenAIAPIMCQSolver

SAMPLE = str(Path(__file__).with_name("gpqa_sample.csv"))
CHOICES = ["Correct Answer", *(f"Incorrect Answer {i}" for i in (1, 2, 3))]
FIELDS = {
    "id": lambda row: row.get("Record ID") or None,
    "question": "Question",
    "answers": CHOICES,
    "correct": {0},
}


def load_questions(data: str) -> list[Question]:
    """The questions of a CSV with GPQA's columns, at a path or URL."""
    questions = Question.from_csv(data, FIELDS, source=f"data={data!r}")
    for number, question in enumerate(questions, start=2):
        question.id = question.id or f"row-{number}"
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
