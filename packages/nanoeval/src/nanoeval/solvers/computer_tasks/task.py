"""Tasks that are solved in a machine."""

from nanoeval_computer.task import ComputerTask, Grade, SimpleJupyterTask

__all__ = [
    "ComputerTask",
    "Grade",
    "SimpleJupyterTask",
]
