"""Short-answer evals."""

from nanoeval_solvers.short_answer import (
    Answer,
    MockSolver,
    Question,
    ShortAnswerEval,
    ShortAnswerSolver,
    ShortAnswerTask,
)

__all__ = [
    "Answer",
    "MockSolver",
    "Question",
    "ShortAnswerEval",
    "ShortAnswerSolver",
    "ShortAnswerTask",
]
