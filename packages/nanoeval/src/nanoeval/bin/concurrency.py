"""How much runs at once: `python -m nanoeval.bin.concurrency limit=…`."""

from nanoeval_cli.bin.concurrency import main
from nanoeval_runner.setup import nanoeval_entrypoint

__all__ = [
    "main",
]

if __name__ == "__main__":
    nanoeval_entrypoint(main)
