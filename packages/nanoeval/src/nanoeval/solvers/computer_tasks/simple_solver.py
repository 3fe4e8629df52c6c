"""The least that a solver can be."""

from nanoeval_computer.simple_solver import (
    ComputerRuntimeSolver,
    DummySolver,
    SimpleSolver,
    UserSolver,
)

__all__ = [
    "ComputerRuntimeSolver",
    "DummySolver",
    "SimpleSolver",
    "UserSolver",
]
