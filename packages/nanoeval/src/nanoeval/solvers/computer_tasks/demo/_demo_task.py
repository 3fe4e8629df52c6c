"""The task of the demonstrations."""

from nanoeval_computer.demo.task import DemoTask

__all__ = [
    "DemoTask",
]
