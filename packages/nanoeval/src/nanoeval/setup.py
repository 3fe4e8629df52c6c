"""What a script's `main` needs around its runs."""

from nanoeval_runner.setup import global_exit_stack, nanoeval_entrypoint, nanoeval_logging

__all__ = [
    "global_exit_stack",
    "nanoeval_entrypoint",
    "nanoeval_logging",
]
