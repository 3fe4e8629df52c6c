"""Solvers of computer tasks, and the eval that runs them."""

from nanoeval_computer.solver import (
    ComputerTask,
    DummyPythonCodingSolver,
    FinalResult,
    Grade,
    PythonCodingEval,
    PythonCodingSolver,
    Step,
    record_message,
    simple_timer,
    strip_all_metadata,
)

__all__ = [
    "ComputerTask",
    "DummyPythonCodingSolver",
    "FinalResult",
    "Grade",
    "PythonCodingEval",
    "PythonCodingSolver",
    "Step",
    "record_message",
    "simple_timer",
    "strip_all_metadata",
]
