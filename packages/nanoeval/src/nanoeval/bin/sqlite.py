"""A read-only SQL prompt on a run set: `python -m nanoeval.bin.sqlite`."""

from nanoeval_cli.bin.sqlite import main
from nanoeval_runner.setup import nanoeval_entrypoint

__all__ = [
    "main",
]

if __name__ == "__main__":
    nanoeval_entrypoint(main)
