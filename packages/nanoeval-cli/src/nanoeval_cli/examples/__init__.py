"""Evals and scripts that `nanoeval.examples` runs: `python -m nanoeval.examples.gpqa_simple …`."""
