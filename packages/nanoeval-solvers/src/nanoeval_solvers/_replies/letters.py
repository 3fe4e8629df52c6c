"""The labels of choices: A to Z, then AA, AB, … as spreadsheets count columns."""

from __future__ import annotations

import functools


def letter_of(index: int) -> str:
    """Return the label of choice number `index`, from 0."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


@functools.cache
def letters_for(n_choices: int) -> tuple[str, ...]:
    return tuple(letter_of(index) for index in range(n_choices))


def listed(words: str) -> frozenset[str]:
    """Return the words of a table."""
    return frozenset(words.split())
