"""What words mean in a reply, by the table `words.txt`. Pure.

A word or phrase has one role. Roles are single characters, so that a clause becomes a short text
("the answer is" → `fNc`) over which the grammar of `parsing` is written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

# The roles that code names. The table has them all, but that of any other word.
ANSWER = "N"
IS = "c"
RIGHT = "V"
WRONG = "X"
SO = "S"
NOT = "n"
BUT = "r"
ENDING = "e"
WORD = "w"

UNSPACED = "\u0e00-\u0e7f\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_LETTER = rf"(?:[^\W\d_{UNSPACED}]|[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0dff])"
_TOKEN = re.compile(
    rf"(?P<word>{_LETTER}+(?:['-](?={_LETTER}{{2}}){_LETTER}+|'{_LETTER}(?!{_LETTER}))*)"
    rf"|(?P<run>[{UNSPACED}]+)|(?P<number>\d[\d.,]*\d|\d)|(?P<arrow>[-=]{{1,2}}>)|\n|[^\s]"
)
_INTERJECTIONS = frozenset(("no", "nope", "nein", "non", "нет", "не"))
_SUFFIXED = re.compile(r"([A-Z])('[^\W\d_]{2,4})")
_LONGEST = 4  # words of a phrase


class Word(NamedTuple):
    """A word, number or sign of a plain text: its role, and where it stands."""

    role: str
    text: str
    start: int
    end: int


_NO_WORD = Word("\0", "\0", -1, -1)


def word_at(words: Sequence[Word], at: int) -> Word:
    """Return word `at`; before the first one and after the last, one of role "\\0"."""
    return words[at] if 0 <= at < len(words) else _NO_WORD


def _phrases() -> tuple[dict[str, str], frozenset[str]]:
    roles: dict[str, str] = {}
    role = WORD
    for line in Path(__file__).with_name("words.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            role = line[1]
        elif line and not line.startswith("#"):
            for entry in line.split("|"):
                roles.setdefault(unicodedata.normalize("NFKC", entry).lower(), role)
    return roles, frozenset(phrase.split(" ")[0] for phrase in roles if " " in phrase)


ROLES, _BEGINNINGS = _phrases()
_LONGEST_UNSPACED = max(len(entry) for entry in ROLES if re.fullmatch(rf"[{UNSPACED}]+", entry))


def words_of(text: str) -> list[Word]:
    """Return the words of a plain text, phrases as one; line ends are words too."""
    words: list[Word] = []
    for token in _TOKEN.finditer(text):
        if token.lastgroup == "run":
            words += _unspaced(token[0], token.start())
        else:
            shown = token[0]
            role = (
                _role(shown.lower())
                if token.lastgroup in ("word", "arrow")
                else "9"
                if token.lastgroup == "number"
                else ROLES.get(shown, "!" if unicodedata.category(shown[0]) == "So" else shown)
            )
            if shown[-2:] == "'s" and role == WORD and (stem := ROLES.get(shown[:-2].lower())):
                words.append(Word(stem, shown[:-2], token.start(), token.end() - 2))
                words.append(Word(IS, "'s", token.end() - 2, token.end()))
                continue
            suffixed = _SUFFIXED.fullmatch(shown)
            if suffixed and ROLES.get(suffixed[2][1:].lower()) == ENDING:  # Turkish: "B'dir"
                middle = token.start() + len(suffixed[1])
                words.append(Word(WORD, suffixed[1], token.start(), middle))
                words.append(Word(ENDING, suffixed[2], middle, token.end()))
                continue
            words.append(Word(role, shown, token.start(), token.end()))
    return _joined(words)


def _role(word: str) -> str:
    role = ROLES.get(word)
    if role is None and "'" in word:  # l'option, dell'opzione
        role = ROLES.get(word.partition("'")[2])
    return role or WORD


def _unspaced(run: str, start: int) -> list[Word]:
    """Return the words of a script without spaces: the longest of the tables at each place."""
    words: list[Word] = []
    at = 0
    while at < len(run):
        for length in range(min(_LONGEST_UNSPACED, len(run) - at), 0, -1):
            role = ROLES.get(run[at : at + length])
            if role is not None or length == 1:
                words.append(
                    Word(role or WORD, run[at : at + length], start + at, start + at + length)
                )
                at += length
                break
    return words


def _joined(words: list[Word]) -> list[Word]:
    joined: list[Word] = []
    at = 0
    while at < len(words):
        first = words[at]
        taken = 1
        if first.text.lower() == "ans" and word_at(words, at + 1).text == ".":
            taken = 2
        elif first.text.lower() in _BEGINNINGS:
            for length in range(min(_LONGEST, len(words) - at), 1, -1):
                several = words[at : at + length]
                role = ROLES.get(" ".join(word.text.lower() for word in several))
                if role is not None:
                    text = " ".join(word.text for word in several)
                    first = Word(role, text, first.start, several[-1].end)
                    taken = length
                    break
        if taken == 1 and first.text.lower() in _INTERJECTIONS and _is_interjection(words, at):
            first = first._replace(role=BUT)
        if first.text.lower() == "remains" and word_at(words, at + taken).role in ".,;!\n\0":
            first = first._replace(role=RIGHT)
        joined.append(first)
        at += taken
    return joined


def _is_interjection(words: list[Word], at: int) -> bool:
    """Return whether "no" at `at` takes back what was said: a clause begins, a comma follows."""
    starts = word_at(words, at - 1).role in f".,;!?\n\0{BUT}"
    return starts and word_at(words, at + 1).role in ",.:;!"
