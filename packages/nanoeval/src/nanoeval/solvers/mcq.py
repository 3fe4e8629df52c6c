"""Multiple-choice evals."""

from nanoeval_solvers.mcq import Answer, MCQEval, MCQSolver, MCQTask, MockSolver, Question

__all__ = [
    "Answer",
    "MCQEval",
    "MCQSolver",
    "MCQTask",
    "MockSolver",
    "Question",
]
