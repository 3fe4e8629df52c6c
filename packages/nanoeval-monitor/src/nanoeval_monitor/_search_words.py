"""Texts and questions as the words that full text search works with.

SQLite takes what stands between spaces and punctuation for a word. Chinese and Japanese have no
spaces, and symbols (emoji among them) are no words to it: each such character becomes one here.
"""

from __future__ import annotations

import re

_SYMBOLS = "\u2190-\u2bff\U0001f000-\U0001faff"
_CHARACTERS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_ALONE = re.compile(f"[{_SYMBOLS}{_CHARACTERS}]")
_SYMBOL = re.compile(f"[{_SYMBOLS}]")
_WORD = re.compile(rf"\w+|[{_SYMBOLS}]")


def as_words(text: str) -> str:
    """Return `text` for the index, with each character that is a word by itself set apart."""
    return text if text.isascii() else _ALONE.sub(_apart, text)


def _apart(found: re.Match[str]) -> str:
    character = found[0]
    return f" u{ord(character):x} " if _SYMBOL.match(character) else f" {character} "


def full_text(text: str) -> str:
    """Return `text` as an FTS5 query: all of its words, the last one as a beginning."""
    words = _WORD.findall(text)
    if not words:
        return ""
    return " ".join(f'"{as_words(word).strip()}"' for word in words) + "*"
