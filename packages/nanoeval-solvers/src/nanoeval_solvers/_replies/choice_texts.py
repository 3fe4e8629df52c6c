"""The texts of a question's choices, and where a reply has one of them. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from nanoeval_solvers._replies.cleaning import plain

_ARTICLE = re.compile(r"(?:the|an?|der|die|das|le|la|les|el|los|las)\s+(?=\S)", re.IGNORECASE)
_AROUND = " \t\n.,;:!\"'。、，；："
# What may not follow a text directly: then the reply goes on with a longer one.
_GOES_ON = re.compile(r"[\w%°^/*+=<>×·'₀-₉]|[-.,](?=\w)|\s*[=<>≤≥≈×·^*/+%°±](?!=?>)|\s+-\s*\d")


def folded(text: str) -> str:
    """Return `text` without markup, case and outer punctuation, by which texts are compared."""
    return lower(" ".join(plain(text).split()).strip(_AROUND))


def lower(text: str) -> str:
    """Return `text` in lower case, character by character, so that places stay the same."""
    small = text.lower()
    if len(small) == len(text):
        return small
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


class ChoiceTexts:
    """The choices of one question, by their texts."""

    def __init__(self, choices: Sequence[str]) -> None:
        self._exact = [" ".join(choice.split()) for choice in choices]
        self._plain = [" ".join(plain(choice).split()).strip(_AROUND) for choice in choices]
        self.all = [folded(choice) for choice in choices]
        self._starts: dict[str, list[tuple[str, int]]] = {}
        for index, text in enumerate(self.all):
            for spelling in {
                text,
                _ARTICLE.sub("", text, count=1) if _ARTICLE.match(text) else text,
            }:
                if spelling:
                    self._starts.setdefault(spelling[0], []).append((spelling, index))

    def whole(self, text: str) -> int | None:
        """Return the index of the one choice whose text `text` is, in the closest spelling."""
        exact = " ".join(text.split())
        bare = " ".join(plain(text).split()).strip(_AROUND)
        compact = bare.replace(" ", "")
        for mine, theirs in ((exact, self._exact), (bare, self._plain), (folded(text), self.all)):
            found = [index for index, one in enumerate(theirs) if one and one == mine]
            if found:
                return found[0] if len(found) == 1 else None
        found = [i for i, one in enumerate(self._plain) if one and one.replace(" ", "") == compact]
        if found and not bare.isalnum():
            return found[0] if len(found) == 1 else None
        short = _ARTICLE.sub("", folded(text), count=1)
        found = [i for i, one in enumerate(self.all) if one and _ARTICLE.sub("", one, 1) == short]
        return found[0] if len(found) == 1 else None

    def at(self, text: str, small: str, place: int) -> tuple[int | None, int] | None:
        """Return the choice whose text begins at `place` of a plain text, and where it ends.

        The longest counts. The index is None where several choices have the same text.

        Args:
            text: a plain text.
            small: `lower(text)`.
            place: where to look.
        """
        best: dict[int, list[int]] = {}
        for spelling, index in self._starts.get(small[place : place + 1], ()):
            end = _end_of(spelling, small, place)
            quoted = end is not None and text[place - 1 : place] == text[end : end + 1] == "'"
            if end is not None and (quoted or not _GOES_ON.match(text, end)):
                best.setdefault(end, []).append(index)
        if not best:
            return None
        end = max(best)
        indices = set(best[end])
        if len(indices) > 1:
            indices = {i for i in indices if self._plain[i] == text[place:end]}
        return (indices.pop() if len(indices) == 1 else None), end


def _end_of(spelling: str, small: str, place: int) -> int | None:
    """Return where `spelling` ends that begins at `place`; blanks around signs do not count."""
    end = place + len(spelling)
    if small.startswith(spelling, place):
        return end
    if spelling.replace(" ", "").isalnum():
        return None
    at = place
    for position, character in enumerate(spelling):
        if character == " ":
            near = spelling[position - 1], spelling[position + 1]
            if all(map(str.isalnum, near)) and small[at : at + 1] != " ":
                return None
            continue
        if small[at : at + 1] == " " and at > place:
            if small[at - 1].isalnum() and character.isalnum() and spelling[position - 1] != " ":
                return None
            at += 1
        if small[at : at + 1] != character:
            return None
        at += 1
    return at


@functools.lru_cache(maxsize=4096)
def texts_of(choices: tuple[str, ...]) -> ChoiceTexts:
    """Return the texts of `choices`, prepared once for all replies to a question."""
    return ChoiceTexts(choices)
