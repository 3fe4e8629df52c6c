"""Where a plain text names choices of a question: labels, texts, and groups of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from nanoeval_solvers._replies.choice_texts import lower, texts_of
from nanoeval_solvers._replies.cleaning import BOX, END_BOX, plain
from nanoeval_solvers._replies.letters import letters_for, listed
from nanoeval_solvers._replies.words import UNSPACED, Word, words_of

LABEL = "L"  # the role of a word that is a label, with the choice's text if that follows, or a box

# Latin letters' look-alikes. Only those that mean the same choice however they are counted:
# Cyrillic В looks like B and is the third letter of its alphabet, so it is ambiguous.
_LOOK_ALIKES = str.maketrans({"А": "A", "С": "C", "Α": "A", "Β": "B", "Ε": "E", "Б": "B"})
_OPENING, _CLOSING = "([{<", ")]}>"
_FORMULA = frozenset("=<>+*/^≈≤≥×·%±≠~_@#&\\")
_TEXT_FOLLOWS = re.compile(r"[ )\].:,>}'\"]{0,6}(?P<dash>[-—=|] )?[ '\"(\[]{0,3}")
_ENDS_HERE = re.compile(r"[)\]}'\". ]*(?:\n|$)")
_AND = listed(
    """
    , ; / & + 、 · | and und et y e i и та і ja og och ve dan en a oraz plus および と with also 和
    与 及 跟 以及 और এবং และ و 와 과 및 και
    """
)
_OR = listed(
    """
    or oder ou o или veya 或 または 또는 atau hoặc vagy sau lub eller tai of nebo 还是 それとも
    """
)
_BETWEEN_NAMES = frozenset("fNPd'\"([{<-")
_ENDINGS = frozenset(".,;:!?|…—-)]}'\"brnouIkSech(zCViXNP[")
_A_IS_LABEL_BEFORE = re.compile(
    "not|cannot|rather than|instead of|fails|failed|[a-z]+n't"
    "|works|fits|wins|survives|prevails|makes sense|stands out|is left|is what remains"
)
_I_IS_LABEL_BEFORE = frozenset(".,;:!?)]}'\"—-")


_NOTHING_MORE = re.compile(
    r"[.,;:!?)\]}e…]*|[,—-]?[fV]*N*[.!]*|,f*C[.!]*|[,;(—-]*[br]?f*n[fNP]*L(?:[,bw]+[fNP]*L)*[).!]*"
)
_NUMBERED = re.compile(
    r"(?<!\w)(?:the|die|la) (?:(?P<ordinal>\w+) (?:option|one|alternative|opción)"
    r"|(?:opción|option) (?P<after>\w+))(?= is| it is| must| has| because|[.,;:!)]|\s*$)"
    r"|(?<!\w)(?:option|choice) (?P<number>\d{1,2})(?= is| it is| must|[.,;:!)]|\s*$)",
    re.IGNORECASE,
)
_ORDINALS = (
    ("first", "1st", "erste", "première", "primera"),
    ("second", "2nd", "zweite", "deuxième", "seconde", "segunda"),
    ("third", "3rd", "dritte", "troisième", "tercera"),
    ("fourth", "4th", "vierte", "quatrième", "cuarta"),
    ("fifth", "5th", "fünfte", "cinquième", "quinta"),
)
_LAST = ("last", "letzte", "dernière", "última")


_NOWHERE = Word("\0", "\0", -1, -1)  # what is before the first word, and after the last


def _at(words: list[Word], at: int) -> Word:
    return words[at] if 0 <= at < len(words) else _NOWHERE


class Mention(NamedTuple):
    """What a word of role "L" names; `picked` is None where it names no single choice."""

    picked: frozenset[int] | None
    boxed: bool = False
    headed: bool = False  # as a list or an answer has it: "(B)", "B)", "B. Paris"


class Group(NamedTuple):
    """Choices named together: which (None: not clear), the words they are, and how."""

    picked: frozenset[int] | None
    start: int
    end: int
    boxed: bool = False
    headed: bool = False


class MarkedText:
    """A plain text as words, of which some are mentions, by where they begin."""

    def __init__(self, text: str) -> None:
        self.plain = plain(text)
        self.small = lower(self.plain)
        self.named: dict[int, Mention] = {}
        self.words: list[Word] = []


class Names:
    """The labels and texts of one question's choices."""

    def __init__(self, choices: Sequence[str], *, multiple: bool) -> None:
        self.multiple = multiple
        self.index = {letter: i for i, letter in enumerate(letters_for(len(choices)))}
        self.texts = texts_of(tuple(choices))
        self._is_run = len(choices) <= 26

    def mark(self, text: str) -> MarkedText:
        """Return `text` in words, its labels and boxes marked."""
        marked = MarkedText(text)
        words = words_of(marked.plain)
        at = 0
        while at < len(words):
            word = words[at]
            if word.role == BOX:
                at = self._box(marked, words, at)
                continue
            found = self._label(marked, words, at) or self._long_text(marked, words, at)
            if found is None:
                marked.words.append(word)
                at += 1
                continue
            mention, end = found
            marked.named[word.start] = mention
            marked.words.append(Word(LABEL, marked.plain[word.start : end], word.start, end))
            while at < len(words) and words[at].start < end:
                at += 1
        return marked

    def lettered(self, text: str) -> str:
        """Return `text` with a letter for "the second option", where nothing else names one."""
        if _NUMBERED.search(text) is None:
            return text
        marked = self.mark(text)
        said = any(one and one in marked.small for one in self.texts.all)
        if said or any(word.role == LABEL for word in marked.words):
            return text
        letters = list(self.index)

        def letter(found: re.Match[str]) -> str:
            ordinal = (found["ordinal"] or found["after"] or "").lower()
            place = int(found["number"] or 0) - 1
            for number, words in enumerate(_ORDINALS):
                place = number if ordinal in words else place
            place = len(letters) - 1 if ordinal in _LAST else place
            return f"({letters[place]})" if 0 <= place < len(letters) else found[0]

        return _NUMBERED.sub(letter, text)

    def named_at(self, marked: MarkedText, word: Word) -> tuple[frozenset[int] | None, int] | None:
        """Return the choice that `word` names or begins the text of, and where that ends."""
        text = self.texts.at(marked.plain, marked.small, word.start)
        known = marked.named.get(word.start)
        if text is not None and (known is None or text[1] > word.end):
            return (None if text[0] is None else frozenset({text[0]})), text[1]
        return None if known is None else (known.picked, word.end)

    def roles(self, marked: MarkedText, words: list[Word]) -> str:
        """Return the roles of `words`, with the texts of choices as labels."""
        roles, end = "", 0
        for word in words:
            if word.start < end:
                continue
            named = self.named_at(marked, word)
            end = word.end if named is None else named[1]
            roles += word.role if named is None else LABEL
        return roles

    def restates(self, text: str) -> bool:
        """Return whether `text` has the texts of this question's choices, all but one at least."""
        small = lower(plain(text))
        return sum(one in small for one in self.texts.all if one) >= max(2, len(self.texts.all) - 1)

    def alone(self, text: str) -> Group | None:
        """Return the choices that `text` names if it does nothing else."""
        whole = self.texts.whole(text)
        if whole is not None and text.strip(" .\n") not in self.index:
            return Group(frozenset({whole}), 0, 0)
        marked = self.mark(text)
        words = [word for word in marked.words if word.role not in "\n'\"" and word.text != "`"]
        start = 0
        while _at(words, start).role in "-•>!V*+" and words[start].text not in self.index:
            start += 1
        group = self.group(marked, words, start, weak=True)
        if group is None:
            return None
        rest = self.roles(marked, words[group.end :])
        return group if _NOTHING_MORE.fullmatch(rest) else None

    def group(self, marked: MarkedText, words: list[Word], at: int, *, weak: bool) -> Group | None:
        """Return the choices named from word `at` on; None when it does not begin with one.

        Args:
            weak: whether a letter in lower case, letters in a row, or "none" name choices here.
        """
        picked: set[int] = set()
        clear, boxed, headed, start, end, number = True, False, False, at, at, 0
        while True:
            at = self._skip(marked, words, at)
            if number and _at(words, at).role == "n":
                break  # "A, C, not B"
            found = self._one(marked, words, at, weak=weak or number > 0)
            if found is None:
                clear = clear and not (number and self._unknown(words, at))
                break
            mention, end = found
            start = start if number else at
            number += 1
            clear = clear and mention.picked is not None
            picked |= mention.picked or frozenset()
            boxed, headed = boxed or mention.boxed, headed or mention.headed
            while _at(words, end).role in ")]}'\"":
                end += 1
            at, joined = self._same(marked, words, end, mention), False
            end = at
            while at < len(words) and (either := joins(words[at])) is not None:
                clear, at, joined = clear and not either, at + 1, True
                if _at(words, at).role == "m":  # "A, possibly C"
                    clear, at = False, at + 1
            if not joined:
                break
        if not number:
            return None
        if len(picked) > 1 and not self.multiple:
            clear = False
        return Group(frozenset(picked) if clear else None, start, end, boxed, headed)

    def _same(self, marked: MarkedText, words: list[Word], at: int, mention: Mention) -> int:
        """Return the word after a repetition of what was named: "Paris (B)", "Paris, option B"."""
        ahead = at
        while _at(words, ahead).role in "(,—-fPN":
            ahead += 1
        if (
            _at(words, ahead).role == LABEL
            and marked.named[words[ahead].start].picked == mention.picked
        ):
            at = ahead + 1
            while _at(words, at).role in ")]":
                at += 1
        return at

    def _skip(self, marked: MarkedText, words: list[Word], at: int) -> int:
        """Return the first word from `at` on that is no filler, or begins a choice's text."""
        while _at(words, at).role in _BETWEEN_NAMES:
            if self.texts.at(marked.plain, marked.small, words[at].start) is not None:
                break
            following = _at(words, at + 1)
            is_sign = following.start == words[at].end or following.role == "9"
            if words[at].role == "-" and is_sign:
                break
            if words[at].text.upper() in self.index and (
                words[at].text.isupper() or self._ends(words, at + 1)
            ):
                break
            at += 1
        return at

    def _one(
        self, marked: MarkedText, words: list[Word], at: int, *, weak: bool
    ) -> tuple[Mention, int] | None:
        """Return the mention at word `at`, and the word after it."""
        if at >= len(words):
            return None
        word = words[at]
        text = self.texts.at(marked.plain, marked.small, word.start)
        known = marked.named.get(word.start)
        if text is not None and (known is None or text[1] > word.end):
            index, end = text
            after = _after(words, at, end)
            if known is None and not weak and index is None:
                return None
            again = marked.named.get(_at(words, after).start)
            if words[after - 1].end > end or self._signed(marked, words, at, end):
                return None
            own = None if index is None else frozenset({index})
            repeated = again is not None and again.picked == (own or frozenset())
            if self._ends(words, after) or repeated:
                is_label = known is None and word.text.upper() in self.index and end == word.end
                if not is_label:
                    return Mention(own), after
        if known is not None:
            return known, at + 1
        if not (weak and self._ends(words, at + 1)):
            return None
        if word.text.upper() in self.index and word.text.islower():
            # The letter that a word begins with ("a matter") is none.
            return Mention(frozenset({self.index[word.text.upper()]})), at + 1
        if word.role == "0":
            return Mention(frozenset() if self.multiple else None), at + 1
        letters = set(word.text)
        is_run = len(letters) == len(word.text) > 1 and letters <= self.index.keys()
        if not (self.multiple and self._is_run and is_run):
            return None
        return Mention(frozenset(self.index[letter] for letter in letters)), at + 1

    def _signed(self, marked: MarkedText, words: list[Word], at: int, end: int) -> bool:
        """Return whether a sign before a text makes it another: "> 5", "- 5"."""
        sign = _at(words, at - 1)
        if sign.role in "-+":
            spelled = sign.role + marked.small[words[at].start : end]
            return spelled in self.texts.all or sign.end == words[at].start
        return sign.role in "<>≤≥≠±≈~"

    def _ends(self, words: list[Word], at: int) -> bool:
        """Return whether what is named can end before word `at`."""
        return at >= len(words) or words[at].role in _ENDINGS or joins(words[at]) is not None

    def _unknown(self, words: list[Word], at: int) -> bool:
        """Return whether word `at` looks like a label that no choice has."""
        text = _at(words, at).text
        return re.fullmatch("[A-Z]", text) is not None and text not in self.index

    def _box(self, marked: MarkedText, words: list[Word], at: int) -> int:
        """Mark the box that begins at word `at` as one word; the word after it."""
        depth, end = 1, at + 1
        while end < len(words) and depth:
            depth += (words[end].role == BOX) - (words[end].role == END_BOX)
            end += 1
        start = words[at].start
        inside = marked.plain[words[at].end : words[end - 1].start]
        inside = re.sub(f"[{BOX}{END_BOX}]", " ", inside).strip()
        inside = re.sub(
            r"(?i)^(?:the )?(?:final |correct )*(?:answer|option)\b(?: is)?[ :]*", "", inside
        )
        group = self.alone(inside)
        if group is not None:
            marked.named[start] = Mention(group.picked, boxed=True)
        elif re.fullmatch(r"\(?[A-Za-z]\)?\.?|(?i:none of .*)|\W*\?\W*", inside):
            marked.named[start] = Mention(None, boxed=True)
        role = LABEL if start in marked.named else "w"  # a formula or number that is no choice
        marked.words.append(Word(role, inside, start, words[end - 1].end))
        return end

    def _label(self, marked: MarkedText, words: list[Word], at: int) -> tuple[Mention, int] | None:
        """Return the label at word `at`, with the choice's text if that follows, and its end."""
        word = words[at]
        bracketed = (
            word.role in _OPENING
            and at + 2 < len(words)
            and words[at + 2].role == _CLOSING[_OPENING.index(word.role)]
        )
        letter = words[at + 1] if bracketed else word
        label = letter.text.translate(_LOOK_ALIKES)
        if label.upper() not in self.index or not (
            bracketed
            or label.isupper()
            or _in_list(words, at)
            or (
                (at == 0 or words[at - 1].role == "\n")
                and self._own_text(marked, self.index[label.upper()], word.end)[0] is not None
            )
        ):
            return None
        end = words[at + 2].end if bracketed else word.end
        text = self.texts.at(marked.plain, marked.small, word.start)
        if text is not None and text[1] > end:
            return None  # the text of a choice that begins with a letter
        index = self.index[label.upper()]
        own_end, other = self._own_text(marked, index, end)
        if own_end is None and not bracketed and not self._stands_alone(words, at, label):
            return None
        before, earlier = _at(words, at - 1), _at(words, at - 2)
        if before.end == word.start and before.role in "-+*/^_=#@&\\~9":
            is_listed = before.role == "/" and earlier.text in self.index
            if not is_listed and (before.role, earlier.role) != ("=", "N"):
                return None
        follows = marked.plain[end : end + 1]
        headed = bracketed or (follows in ").:" and follows != "") or own_end is not None
        picked = None if other else frozenset({index})
        return Mention(picked, headed=headed), own_end or end

    def _long_text(
        self, marked: MarkedText, words: list[Word], at: int
    ) -> tuple[Mention, int] | None:
        """Return the text of a choice, of several words or with signs, where one can be named."""
        word = words[at]
        if at and words[at - 1].role not in ":=cCN'\"\nS(.,":
            return None
        found = self.texts.at(marked.plain, marked.small, word.start)
        if found is None or found[0] is None or found[1] <= word.end:
            return None
        after = _after(words, at, found[1])
        if words[after - 1].end > found[1] or self._signed(marked, words, at, found[1]):
            return None
        if after < len(words) and words[after].role not in ".,;:!?)]}'\"\n([bBhrn":
            return None
        return Mention(frozenset({found[0]})), found[1]

    def _own_text(self, marked: MarkedText, index: int, end: int) -> tuple[int | None, bool]:
        """Return where the text of choice `index` ends if it follows its label, and whether that of
        another choice does."""
        follows = _TEXT_FOLLOWS.match(marked.plain, end)
        assert follows is not None  # noqa: S101  it matches nothing too
        places = {follows.end()}
        if follows["dash"]:
            places.add(follows.start("dash"))
        if follows.end() == end:
            return None, False
        for place in sorted(places):
            found = self.texts.at(marked.plain, marked.small, place)
            if found is None:
                continue
            if found[0] == index:
                return found[1], False
            single_letter = marked.plain[place : found[1]].upper() in self.index
            if _ENDS_HERE.match(marked.plain, found[1]) and not single_letter:
                return (None, False) if "," in follows[0] else (found[1], True)
        return None, False

    def _stands_alone(self, words: list[Word], at: int, label: str) -> bool:
        """Return whether a bare capital letter is a label, not part of a name or a sentence."""
        word, before, after = words[at], _at(words, at - 1), _at(words, at + 1)
        earlier, following = _at(words, at - 2), _at(words, at + 2)
        attached = before.end == word.start
        spelled = before.role == "w" and before.text.isascii() and before.text[-1:].isalpha()
        if spelled and joins(before) is None:
            return False  # "vitamin B"
        if before.role == "w" and attached and re.match(f"[{UNSPACED}]", before.text):
            return before.text not in "素型类组点级班图表"
        is_bullet = before.role == "*" and (at == 1 or earlier.role == "\n")
        is_value = earlier.role in "NKVOPc" or earlier.text.strip("()") in self.index
        if before.role in "=<>+*/^×·" and not is_bullet and not is_value:
            return False
        if before.role in ".@#" and attached and earlier.role in "w9":
            return False
        if after is _NOWHERE:
            return True
        attached = after.start == word.end
        if joins(after) is not None and after.role in "/+&":
            is_name = following.text.strip("()").upper() in self.index
            return is_name and (after.role != "+" or self.multiple)
        if joins(after) is not None and label != "I":
            return True
        if after.role in _FORMULA or (attached and after.role in "9-*"):
            return False
        if after.role == "-" and following.role == "9":
            return False
        if after.role in "w9":
            return bool(re.match(f"[{UNSPACED}]", after.text))
        if after.role == "." and following.role == "w" and following.text[0].islower():
            return False  # "E. coli"
        if label == "I":
            return (
                after.role in _I_IS_LABEL_BEFORE or joins(after) is not None or after.text == "is"
            )
        if (
            label == "A"
            and after.role in "VfNPXnCd"
            and not _A_IS_LABEL_BEFORE.fullmatch(after.text)
        ):
            only = after.role == "f" and following.role in ".,;:!\n\0"
            return only or not after.text[0].isalnum()  # "A correct answer" is not A
        return True


def _after(words: list[Word], at: int, end: int) -> int:
    """Return the first word from `at` on that does not begin before `end`."""
    while at < len(words) and words[at].start < end:
        at += 1
    return at


def _in_list(words: list[Word], at: int) -> bool:
    """Return whether a small letter is a label by what surrounds it: "is b) …"."""
    after = _at(words, at + 1)
    named = at == 0 or words[at - 1].role in "cN:C\n"
    return named and after.role == ")" and after.start == words[at].end


def joins(word: Word) -> bool | None:
    """Return whether a word says "or" (True) or "and" (False) between names; None if neither."""
    text = word.text if len(word.text) == 1 else word.text.lower()  # "E" is a label, "e" is "and"
    return True if text in _OR else False if text in _AND else None
