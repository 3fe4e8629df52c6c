"""Where a plain text names choices of a question: labels, texts, and groups of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from nanoeval_solvers._replies.choice_texts import lower, texts_of
from nanoeval_solvers._replies.cleaning import BOX, END_BOX, plain
from nanoeval_solvers._replies.letters import letters_for, listed
from nanoeval_solvers._replies.words import UNSPACED, Word, word_at, words_of

LABEL = "L"  # the role of a word that is a label, with the choice's text if that follows, or a box

# Latin letters' look-alikes. Only those that mean the same choice however they are counted:
# Cyrillic В looks like B and is the third letter of its alphabet, so it is ambiguous.
_LOOK_ALIKES = str.maketrans({"А": "A", "С": "C", "Α": "A", "Β": "B", "Ε": "E", "Б": "B"})
_BRACKETS = {"(": ")", "[": "]", "{": "}", "<": ">"}
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
_I_IS_LABEL_BEFORE = frozenset(".,;:!?)]}'\"—-\0")
_NOTHING_MORE = re.compile(
    r"[.,;:!?)\]}e…]*|[,—-]?[fV]*N*[.!]*|,f*C[.!]*|[,;(—-]*[br]?f*n[fNP]*L(?:[,bw]+[fNP]*L)*[).!]*"
)
_NUMBERED = re.compile(
    r"(?<!\w)(?:the|die|la) (?:(?P<ordinal>\w+) (?:option|one|alternative|opción)"
    r"|(?:opción|option) (?P<after>\w+))(?= is| it is| must| has| because|[.,;:!)]|\s*$)"
    r"|(?<!\w)(?:option|choice) (?P<number>\d{1,2})(?= is| it is| must|[.,;:!)]|\s*$)",
    re.IGNORECASE,
)
_ORDINALS = {
    1: listed("first 1st erste première primera"),
    2: listed("second 2nd zweite deuxième seconde segunda"),
    3: listed("third 3rd dritte troisième tercera"),
    4: listed("fourth 4th vierte quatrième cuarta"),
    5: listed("fifth 5th fünfte cinquième quinta"),
    -1: listed("last letzte dernière última"),
}


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


class Names:
    """The labels and texts of one question's choices."""

    def __init__(self, choices: Sequence[str], *, multiple: bool) -> None:
        self.multiple = multiple
        self.index = {letter: i for i, letter in enumerate(letters_for(len(choices)))}
        self.texts = texts_of(tuple(choices))

    def lettered(self, text: str) -> str:
        """Return `text` with a letter for "the second option", where nothing else names one."""
        if _NUMBERED.search(text) is None:
            return text
        marked = MarkedText(self, text)
        said = any(one and one in marked.small for one in self.texts.all)
        if said or any(word.role == LABEL for word in marked.words):
            return text
        letters = list(self.index)

        def letter(found: re.Match[str]) -> str:
            ordinal = (found["ordinal"] or found["after"] or "").lower()
            named = (number for number, words in _ORDINALS.items() if ordinal in words)
            number = int(found["number"] or next(named, 0))
            if number == 0 or number > len(letters):
                return found[0]
            return f"({letters[number - 1 if number > 0 else number]})"

        return _NUMBERED.sub(letter, text)

    def restates(self, text: str) -> bool:
        """Return whether `text` has the texts of this question's choices, all but one at least."""
        small = lower(plain(text))
        return sum(one in small for one in self.texts.all if one) >= max(2, len(self.texts.all) - 1)

    def alone(self, text: str) -> Group | None:
        """Return the choices that `text` names if it does nothing else."""
        whole = self.texts.whole(text)
        if whole is not None and text.strip(" .\n") not in self.index:
            return Group(frozenset({whole}), 0, 0)
        marked = MarkedText(self, text)
        words = [word for word in marked.words if word.role not in "\n'\"" and word.text != "`"]
        start = 0
        while word_at(words, start).role in "-•>!V*+" and words[start].text not in self.index:
            start += 1
        group = marked.group(words, start, weak=True)
        if group is None or not _NOTHING_MORE.fullmatch(marked.roles(words[group.end :])):
            return None
        return group


class MarkedText:
    """A plain text as words, of which some are mentions of the choices of a question."""

    def __init__(self, names: Names, text: str) -> None:
        self.names = names
        self.plain = plain(text)
        self.small = lower(self.plain)
        self.mentions: dict[int, Mention] = {}  # by where they begin
        self.words: list[Word] = []
        words = words_of(self.plain)
        at = 0
        while at < len(words):
            word = words[at]
            if word.role == BOX:
                at = self._box(words, at)
                continue
            found = self._label(words, at) or self._long_text(words, at)
            if found is None:
                self.words.append(word)
                at += 1
                continue
            self.mentions[word.start], end = found
            self.words.append(Word(LABEL, self.plain[word.start : end], word.start, end))
            at = after(words, at, end)

    def named_at(self, word: Word) -> tuple[frozenset[int] | None, int] | None:
        """Return the choice that `word` names or begins the text of, and where that ends."""
        text = self._text_at(word)
        if text is not None:
            return (None if text[0] is None else frozenset({text[0]})), text[1]
        known = self.mentions.get(word.start)
        return None if known is None else (known.picked, word.end)

    def _text_at(self, word: Word) -> tuple[int | None, int] | None:
        """Return the choice whose text begins at `word`, longer than a mention that is it."""
        text = self.names.texts.at(self.plain, self.small, word.start)
        is_longer = text is not None and (word.start not in self.mentions or text[1] > word.end)
        return text if is_longer else None

    def roles(self, words: list[Word]) -> str:
        """Return the roles of `words`, with the texts of choices as labels."""
        roles, end = "", 0
        for word in words:
            if word.start < end:
                continue
            named = self.named_at(word)
            end = word.end if named is None else named[1]
            roles += word.role if named is None else LABEL
        return roles

    def group(self, words: list[Word], at: int, *, weak: bool) -> Group | None:
        """Return the choices named from word `at` on; None when it does not begin with one.

        Args:
            weak: whether a letter in lower case, letters in a row, or "none" name choices here.
        """
        picked: set[int] = set()
        clear, boxed, headed, start, end, number = True, False, False, at, at, 0
        while True:
            at = self._skip(words, at)
            if number and word_at(words, at).role == "n":
                break  # "A, C, not B"
            found = self._one(words, at, weak=weak or number > 0)
            if found is None:
                clear = clear and not (number and self._unknown(words, at))
                break
            mention, end = found
            start = start if number else at
            number += 1
            clear = clear and mention.picked is not None
            picked |= mention.picked or frozenset()
            boxed, headed = boxed or mention.boxed, headed or mention.headed
            while word_at(words, end).role in ")]}'\"":
                end += 1
            end = at = self._same(words, end, mention)
            while (either := joins(word_at(words, at))) is not None:
                clear, at = clear and not either, at + 1
                if word_at(words, at).role == "m":  # "A, possibly C"
                    clear, at = False, at + 1
            if at == end:
                break
        if not number:
            return None
        if len(picked) > 1 and not self.names.multiple:
            clear = False
        return Group(frozenset(picked) if clear else None, start, end, boxed, headed)

    def _same(self, words: list[Word], at: int, mention: Mention) -> int:
        """Return the word after a repetition of what was named: "Paris (B)", "Paris, option B"."""
        ahead = at
        while word_at(words, ahead).role in "(,—-fPN":
            ahead += 1
        again = self.mentions.get(word_at(words, ahead).start)
        if again is None or again.picked != mention.picked:
            return at
        ahead += 1
        while word_at(words, ahead).role in ")]":
            ahead += 1
        return ahead

    def _skip(self, words: list[Word], at: int) -> int:
        """Return the first word from `at` on that is no filler, or begins a choice's text."""
        while word_at(words, at).role in _BETWEEN_NAMES:
            word, following = words[at], word_at(words, at + 1)
            is_sign = following.start == word.end or following.role == "9"
            is_label = word.text.upper() in self.names.index and (
                word.text.isupper() or _ends(words, at + 1)
            )
            if is_label or (word.role == "-" and is_sign) or self._text_at(word) is not None:
                break
            at += 1
        return at

    def _one(self, words: list[Word], at: int, *, weak: bool) -> tuple[Mention, int] | None:
        """Return the mention at word `at`, and the word after it."""
        if at >= len(words):
            return None
        word, index = words[at], self.names.index
        known = self.mentions.get(word.start)
        if (text := self._text_at(word)) is not None:
            own, end = text
            end_word = after(words, at, end)
            if known is None and not weak and own is None:
                return None
            if words[end_word - 1].end > end or self._signed(words, at, end):
                return None
            mention = Mention(None if own is None else frozenset({own}))
            again = self.mentions.get(word_at(words, end_word).start)
            repeated = again is not None and again.picked == (mention.picked or frozenset())
            is_label = known is None and word.text.upper() in index and end == word.end
            if (_ends(words, end_word) or repeated) and not is_label:
                return mention, end_word
        if known is not None:
            return known, at + 1
        if not (weak and _ends(words, at + 1)):
            return None
        if word.text.upper() in index and word.text.islower():
            # The letter that a word begins with ("a matter") is not one.
            return Mention(frozenset({index[word.text.upper()]})), at + 1
        if word.role == "0":
            return Mention(frozenset() if self.names.multiple else None), at + 1
        letters = set(word.text)
        is_run = len(letters) == len(word.text) > 1 and letters <= index.keys()
        if not (is_run and self.names.multiple and len(index) <= 26):
            return None
        return Mention(frozenset(index[letter] for letter in letters)), at + 1

    def _signed(self, words: list[Word], at: int, end: int) -> bool:
        """Return whether a sign before a text makes it another: "> 5", "- 5"."""
        sign = word_at(words, at - 1)
        if sign.role in "-+":
            spelled = sign.role + self.small[words[at].start : end]
            return spelled in self.names.texts.all or sign.end == words[at].start
        return sign.role in "<>≤≥≠±≈~"

    def _unknown(self, words: list[Word], at: int) -> bool:
        """Return whether word `at` looks like a label that no choice has."""
        text = word_at(words, at).text
        return re.fullmatch("[A-Z]", text) is not None and text not in self.names.index

    def _box(self, words: list[Word], at: int) -> int:
        """Mark the box that begins at word `at` as one word; the word after it."""
        depth, end = 1, at + 1
        while end < len(words) and depth:
            depth += (words[end].role == BOX) - (words[end].role == END_BOX)
            end += 1
        start = words[at].start
        inside = self.plain[words[at].end : words[end - 1].start]
        inside = re.sub(f"[{BOX}{END_BOX}]", " ", inside).strip()
        inside = re.sub(
            r"(?i)^(?:the )?(?:final |correct )*(?:answer|option)\b(?: is)?[ :]*", "", inside
        )
        group = self.names.alone(inside)
        if group is not None:
            self.mentions[start] = Mention(group.picked, boxed=True)
        elif re.fullmatch(r"\(?[A-Za-z]\)?\.?|(?i:none of .*)|\W*\?\W*", inside):
            self.mentions[start] = Mention(None, boxed=True)
        role = LABEL if start in self.mentions else "w"  # a formula or number that is no choice
        self.words.append(Word(role, inside, start, words[end - 1].end))
        return end

    def _label(self, words: list[Word], at: int) -> tuple[Mention, int] | None:
        """Return the label at word `at`, with the choice's text if that follows, and its end."""
        word, before, earlier = words[at], word_at(words, at - 1), word_at(words, at - 2)
        closing = _BRACKETS.get(word.role)
        bracketed = closing is not None and word_at(words, at + 2).role == closing
        letter, end = word, word.end
        if bracketed:
            letter, end = words[at + 1], words[at + 2].end
        label = letter.text.translate(_LOOK_ALIKES)
        index = self.names.index.get(label.upper())
        if index is None:
            return None
        own_end, other = self._own_text(index, end)
        if not (
            bracketed
            or label.isupper()
            or _in_list(words, at)
            or (before.role in "\0\n" and own_end is not None)
        ):
            return None
        text = self._text_at(word)
        if text is not None and text[1] > end:
            return None  # the text of a choice that begins with a letter
        if own_end is None and not bracketed and not self._stands_alone(words, at, label):
            return None
        if before.end == word.start and (before.text == "°" or before.role in "-+*/^_=#@&\\~9"):
            is_listed = before.role == "/" and earlier.text in self.names.index
            if not is_listed and (before.role, earlier.role) != ("=", "N"):
                return None
        headed = bracketed or self.plain[end : end + 1] in (*").:",) or own_end is not None
        return Mention(None if other else frozenset({index}), headed=headed), own_end or end

    def _long_text(self, words: list[Word], at: int) -> tuple[Mention, int] | None:
        """Return the text of a choice, of several words or with signs, where one can be named."""
        word = words[at]
        if word_at(words, at - 1).role not in ":=cCN'\"\nS(.,\0":
            return None
        found = self._text_at(word)
        if found is None or found[0] is None or found[1] <= word.end:
            return None
        end_word = after(words, at, found[1])
        if words[end_word - 1].end > found[1] or self._signed(words, at, found[1]):
            return None
        if word_at(words, end_word).role not in ".,;:!?)]}'\"\n([bBhrn\0":
            return None
        return Mention(frozenset({found[0]})), found[1]

    def _own_text(self, index: int, end: int) -> tuple[int | None, bool]:
        """Return where the text of choice `index` ends if it follows its label, and whether that of
        another choice does."""
        follows = _TEXT_FOLLOWS.match(self.plain, end)
        if not follows or follows.end() == end:
            return None, False
        places = {follows.end()}
        if follows["dash"]:
            places.add(follows.start("dash"))
        for place in sorted(places):
            found = self.names.texts.at(self.plain, self.small, place)
            if found is None:
                continue
            if found[0] == index:
                return found[1], False
            single_letter = self.plain[place : found[1]].upper() in self.names.index
            if _ENDS_HERE.match(self.plain, found[1]) and not single_letter:
                return (None, False) if "," in follows[0] else (found[1], True)
        return None, False

    def _stands_alone(self, words: list[Word], at: int, label: str) -> bool:
        """Return whether a bare capital letter is a label, not part of a name or a sentence."""
        word, before, after = words[at], word_at(words, at - 1), word_at(words, at + 1)
        earlier, following = word_at(words, at - 2), word_at(words, at + 2)
        attached = before.end == word.start
        spelled = before.role == "w" and before.text.isascii() and before.text[-1:].isalpha()
        if spelled and joins(before) is None:
            return False  # "vitamin B"
        if before.role == "w" and attached and re.match(f"[{UNSPACED}]", before.text):
            return before.text not in "素型类组点级班图表"
        is_bullet = before.role == "*" and earlier.role in "\0\n"
        is_value = earlier.role in "NKVOPc" or earlier.text.strip("()") in self.names.index
        if before.role in "=<>+*/^×·" and not is_bullet and not is_value:
            return False
        if before.role in ".@#" and attached and earlier.role in "w9":
            return False
        attached = after.start == word.end
        if joins(after) is not None and after.role in "/+&":
            is_name = following.text.strip("()").upper() in self.names.index
            return is_name and (after.role != "+" or self.names.multiple)
        if joins(after) is not None and label != "I":
            return True
        is_minus = after.role == "-" and following.role == "9"
        if after.role in _FORMULA or is_minus or (attached and after.role in "9-*"):
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


def after(words: list[Word], at: int, end: int) -> int:
    """Return the first word from `at` on that does not begin before `end`."""
    while at < len(words) and words[at].start < end:
        at += 1
    return at


def _ends(words: list[Word], at: int) -> bool:
    """Return whether what is named can end before word `at`."""
    return at >= len(words) or words[at].role in _ENDINGS or joins(words[at]) is not None


def _in_list(words: list[Word], at: int) -> bool:
    """Return whether a small letter is a label by what surrounds it: "is b) …"."""
    following = word_at(words, at + 1)
    named = word_at(words, at - 1).role in "cN:C\n\0"
    return named and following.role == ")" and following.start == words[at].end


def joins(word: Word) -> bool | None:
    """Return whether a word says "or" (True) or "and" (False) between names; None if neither."""
    text = word.text if len(word.text) == 1 else word.text.lower()  # "E" is a label, "e" is "and"
    return True if text in _OR else False if text in _AND else None
