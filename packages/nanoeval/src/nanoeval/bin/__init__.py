"""Commands: `python -m nanoeval.bin.{resume,mon,concurrency,sqlite}`; each has `--help`."""
