"""Finish what was stopped: `python -m nanoeval.bin.resume run_set_id=…`."""

from nanoeval_cli.bin.resume import main
from nanoeval_runner.setup import nanoeval_entrypoint

__all__ = [
    "main",
]

if __name__ == "__main__":
    nanoeval_entrypoint(main)
