"""A limit on how long a machine may take to start."""

from nanoeval_computer.startup import run_with_startup_timeout

__all__ = [
    "run_with_startup_timeout",
]
