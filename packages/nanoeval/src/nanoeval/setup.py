"""What a script's `main` needs around its runs."""

from nanoeval_runner.entrypoint import nanoeval_entrypoint, nanoeval_logging

__all__ = [
    "nanoeval_entrypoint",
    "nanoeval_logging",
]
