"""The monitor: `python -m nanoeval.bin.mon`, a web page for runs that are going or done."""

from nanoeval_cli.bin.mon import main

__all__ = [
    "main",
]

if __name__ == "__main__":
    main()
