"""What a script's `main` needs around its runs."""

from nanoeval_runner.entrypoint import nanoeval_entrypoint, nanoeval_logging
from nanoeval_runner.exit_stack import global_exit_stack

__all__ = [
    "global_exit_stack",
    "nanoeval_entrypoint",
    "nanoeval_logging",
]
