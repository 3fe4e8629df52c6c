"""Finish what was stopped: `python -m nanoeval.bin.resume run_set_id=…`."""

from nanoeval_runner.cli.resume import main
from nanoeval_runner.entrypoint import nanoeval_entrypoint

__all__ = [
    "main",
]

if __name__ == "__main__":
    nanoeval_entrypoint(main)
