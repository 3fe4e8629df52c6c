"""Extraction rules of public datasets and harnesses, for numbers that compare with published ones.

They are the standard of their set, faults included: the first match counts for `simple_evals_mcq`,
whatever follows it. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable


def _gsm8k(reply: str) -> str | None:
    """Return the first `#### number` without its commas, as GSM8K does."""
    match = re.search(r"#### (-?[0-9.,]+)", reply)
    return None if match is None else match[1].replace(",", "").strip()


def _simple_evals(reply: str) -> str | None:
    """Return what follows the first `Answer:` on its line, as simple-evals does."""
    match = re.search(r"(?i)Answer\s*:\s*([^\n]+)", reply)
    return None if match is None else match[1].strip()


def _simple_evals_mcq(reply: str) -> str | None:
    """Return the letter after the first `Answer:`, A to D, as simple-evals on GPQA and MMLU."""
    match = re.search(r"(?i)Answer[ \t]*:[ \t]*\$?([A-D])\$?", reply)
    return None if match is None else match[1].upper()


RULES: dict[str, Callable[[str], str | None]] = {
    "gsm8k": _gsm8k,
    "simple_evals": _simple_evals,
    "simple_evals_mcq": _simple_evals_mcq,
}
