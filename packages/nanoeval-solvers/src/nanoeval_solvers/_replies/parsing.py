"""What a reply answers: from the text of a model to the choices it names. Pure.

A reply is read in steps, the most explicit first, and the first step that finds a statement
decides: a `\\boxed{…}`, else the last statement of an answer ("the answer is C", "Answer: (C)",
"答案：C"), else a reply or a line that consists of a label, else a sentence that declares a choice
("C is correct", "I choose C"), else the text of exactly one choice. A statement that names no
choice, or several where one is asked for, is no answer: it is never replaced by a guess.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from nanoeval_solvers._replies import reply_patterns as patterns
from nanoeval_solvers._replies.boxed import boxed
from nanoeval_solvers._replies.letters import letters_for

_APOSTROPHES = str.maketrans("‘’", "''")
_UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # kana, Chinese characters, Hangul


_SENTENCE = 100  # characters before a statement that are looked at
_LABEL_ENDS = 8  # characters that hold a label and what follows it


class _Found(NamedTuple):
    """The choices that a statement names: none when it names no single choice."""

    picked: frozenset[int] | None
    end: int


def parse_choices(
    reply: str | None, choices: Sequence[str], *, multiple: bool = False
) -> frozenset[int] | None:
    """The indices of the choices that `reply` answers with, or None when that is not clear.

    Args:
        reply: what the model wrote; its closed `<think>` blocks are ignored.
        choices: the texts of the choices, shown to the model as A, B, C, …
        multiple: whether several choices may be right: then the answer is a set, and "none" is
            the empty one.
    """
    text = _clean(reply or "")
    if text is None:
        return None
    plain = patterns.LAST_LINE.search(text)
    if plain and "\\boxed" not in text and ord(plain[1]) - ord("A") < len(choices):
        return frozenset({ord(plain[1]) - ord("A")})  # what the steps find, at a tenth of the cost
    reader = _Reader(choices, multiple)
    for step in (reader.boxed, reader.stated, reader.labelled, reader.declared, reader.quoted):
        found = step(text)
        if found is not None:
            return found.picked
    return None


def _clean(reply: str) -> str | None:
    """`reply` without thoughts; None when it is all thought."""
    text = unicodedata.normalize("NFKC", reply).translate(_APOSTROPHES)
    if "<" not in text:
        return text.strip()
    text = patterns.THOUGHT.sub("\n", text)
    text = patterns.CLOSED_THOUGHT.sub("", text)  # the opening tag can be part of the prompt
    if patterns.OPEN_THOUGHT.search(text):
        return None
    return text.strip()


def _plain(text: str) -> str:
    """`text` without markup."""
    before = ""
    while before != text:
        before, text = text, patterns.LATEX_WRAPPER.sub(r"\1", text)
    return patterns.MARKUP.sub("", text.replace("\\{", "{").replace("\\}", "}"))


@functools.cache
def _label_pattern(n_choices: int) -> re.Pattern[str]:
    labels = sorted(letters_for(n_choices), key=len, reverse=True)
    return re.compile(rf"(?P<label>{'|'.join(labels)})(?![^\W{_UNSPACED}]|')", re.IGNORECASE)


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _is_denied(text: str, at: int) -> bool:
    """Whether what comes right before `at` denies what is said there, or only supposes it."""
    return patterns.NEGATED_BEFORE.search(text[max(0, at - _SENTENCE) : at]) is not None


def _folded(text: str) -> str:
    return " ".join(_plain(text).casefold().split()).strip(" .!,;:")


class _Reader:
    """Reads a cleaned reply to one question."""

    def __init__(self, choices: Sequence[str], multiple: bool) -> None:
        self._choices = choices
        self._multiple = multiple
        self._index = {letter: i for i, letter in enumerate(letters_for(len(choices)))}
        self._label = _label_pattern(len(choices))
        self._reach = 2 * max(map(len, choices), default=0) + 200  # what can be a choice's text

    def boxed(self, text: str) -> _Found | None:
        boxes = boxed(text)
        if not boxes:
            return None
        inside = _plain(boxes[-1])
        return self._names(inside, 0) or self._choice_text(inside) or _Found(None, 0)

    def stated(self, text: str) -> _Found | None:
        """The last statement of an answer that names a choice, or says that it names none."""
        plain = patterns.CORRECTED.sub(" is ", _plain(text))
        last: _Found | None = None
        starts = [
            (match.end(), match)
            for pattern in (patterns.STATEMENT, patterns.BARE_STATEMENT)
            for match in pattern.finditer(plain)
        ]
        for start, match in sorted(starts, key=lambda pair: pair[0]):
            if last is not None and start < last.end:
                continue
            if _is_denied(plain, match.start()):
                continue
            if patterns.NEGATED.match(plain, start):
                continue
            found = self._text_or_names(plain, start)
            if found is not None:
                last = _Found(found.picked, max(found.end, start))
        return None if last is None else self._after(last, plain[last.end :])

    def _after(self, said: _Found, rest: str) -> _Found:
        """What is left of a last statement when `rest` follows it: that can settle it, or take it
        back."""
        if said.picked is None:
            return self.declared(rest) or said
        named = {self._index.get(label) for label in re.findall(r"(?<!\w)[A-Z](?!\w)", rest)}
        if patterns.RETRACTED.search(rest) and named - {None} - said.picked:
            return self.declared(rest) or _Found(None, 0)
        return said

    def _text_or_names(self, text: str, start: int) -> _Found | None:
        """What a statement that begins at `start` names, by the text of a choice or by labels."""
        rest = text[start : start + self._reach].lstrip().split("\n")[0]
        # `B-12` can be the text of a choice; a bare `B` is the label even where it is one.
        named = None if rest.strip(" .").upper() in self._index else self._choice_text(rest)
        return named or self._names(text, start)

    def labelled(self, text: str) -> _Found | None:
        """A reply that is or begins with a label, or has one line that is or begins with one."""
        plain = _plain(text)
        lines = [line for line in plain.split("\n") if line.strip()]
        if not lines:
            return None
        found: list[_Found] = []
        for number, line in enumerate(lines):
            named = self._names(line, _skip(patterns.LINE, line, 0), whole_line=True)
            if named is not None:
                first, rest = not found, [line[named.end :], *lines[number + 1 :]]
                found.append(self._after(named, "\n".join(rest)) if first else named)
        answers = {one.picked for one in found}
        if len(answers) > 1 and not self._multiple:
            return _Found(None, 0)
        if len(answers) > 1:
            return self._listed(lines, answers)
        return found[0] if found else None

    def _listed(self, lines: list[str], answers: set[frozenset[int] | None]) -> _Found:
        """Several labelled lines where several choices may be picked: a list, if nothing else."""
        picked = [one for one in answers if one is not None]
        is_list = len(picked) == len(answers) == len(lines) and len(answers) < len(self._choices)
        return _Found(frozenset().union(*picked) if is_list else None, 0)

    def declared(self, text: str) -> _Found | None:
        """The choice that sentences call correct, if they call one so."""
        plain = _plain(text)
        picked: set[int] = set()
        for pattern in patterns.DECLARATIONS:
            for match in pattern.finditer(plain):
                label = match["label"]
                if label == "a" or _is_denied(plain, match.start()):
                    continue
                index = self._index.get(label.upper())
                if index is not None:
                    picked.add(index)
        if not picked:
            return None
        return _Found(frozenset(picked) if self._multiple or len(picked) == 1 else None, 0)

    def quoted(self, text: str) -> _Found | None:
        """The choice whose text the reply is, or ends with as a line of its own."""
        lines = [line for line in text.split("\n") if line.strip()]
        return self._choice_text(text) or (self._choice_text(lines[-1]) if lines else None)

    def _choice_text(self, text: str) -> _Found | None:
        wanted = _folded(text)
        if not wanted:
            return None
        folded = [_folded(choice) for choice in self._choices]
        same = [i for i, choice in enumerate(folded) if choice == wanted]
        return _Found(frozenset(same), 0) if len(same) == 1 else None

    def _names(self, text: str, at: int, *, whole_line: bool = False) -> _Found | None:
        """The labels that `text` names from `at` on; None when it does not begin with one."""
        if self._multiple and patterns.NONE.match(text, at):
            return _Found(frozenset(), at)
        at = _skip(patterns.LEAD, text, at)
        picked: list[int] = []
        either = False
        while True:
            label = self._one_label(text, at, whole_line=whole_line and not picked)
            if label is None:
                break
            indices, at = label
            picked += indices
            alternative, separator = patterns.OR.match(text, at), patterns.SEPARATOR.match(text, at)
            between = alternative or separator
            if between is None:
                break
            following = between.end()
            if self._unknown_label(text, following) or patterns.HEDGED.match(text, following):
                return _Found(None, following)
            if self._one_label(text, following, whole_line=False) is None:
                break
            either = either or alternative is not None
            at = following
        if not picked:
            return self._unknown_label(text, at)
        if not whole_line and patterns.REJECTED.match(text, at):
            return _Found(None, at)
        if (
            whole_line
            and len(picked) > 1
            and not (patterns.AFTER_LINE.match(text, at) or patterns.ARE_RIGHT.match(text, at))
        ):
            return None
        unique = frozenset(picked)
        clear = len(unique) == 1 or (self._multiple and not either)
        return _Found(unique if clear else None, at)

    def _one_label(self, text: str, at: int, *, whole_line: bool) -> tuple[list[int], int] | None:
        """The indices of the label at `at` and where it ends."""
        start = _skip(patterns.OPENING, text, at)
        near = text[start : start + _LABEL_ENDS].translate(patterns.LOOK_ALIKES)
        match = self._label.match(near)
        if match is None:
            return self._run_of_labels(text, start)
        label, end = match["label"], start + match.end()
        opened = text[at:start].strip()[-1:] in patterns.BRACKETS
        if opened and text[end : end + 1] in patterns.CLOSING:
            return [self._index[label.upper()]], end + 1
        ends = (patterns.AFTER_LINE if whole_line else patterns.AFTER).match(text, end)
        if label == "a" and ends and text[end : end + 1] == " ":
            return None  # the article
        if not (ends or self._goes_on(text, end) or self._reads_as_label(label, text, end)):
            return None
        return [self._index[label.upper()]], end

    def _goes_on(self, text: str, end: int) -> bool:
        """Whether another label follows the one that ends at `end`."""
        separator = patterns.OR.match(text, end) or patterns.SEPARATOR.match(text, end)
        if separator is None:
            return False
        match = self._label.match(text, _skip(patterns.OPENING, text, separator.end()))
        return match is not None and match["label"] != "a"

    def _reads_as_label(self, label: str, text: str, end: int) -> bool:
        """Whether the label is followed by the text of its own choice."""
        rest = _folded(text[end : end + self._reach].split("\n")[0])
        own = _folded(self._choices[self._index[label.upper()]])
        return bool(rest and own) and (rest.startswith(own) or own.startswith(rest))

    def _run_of_labels(self, text: str, at: int) -> tuple[list[int], int] | None:
        """Labels without anything between them, such as ACD."""
        match = re.compile(r"[A-Z]{2,26}(?![\w'])").match(text, at)
        if match is None or not self._multiple or len(self._choices) > 26:
            return None
        run = match[0]
        if len(set(run)) != len(run) or any(letter not in self._index for letter in run):
            return None
        return [self._index[letter] for letter in run], match.end()

    def _unknown_label(self, text: str, at: int) -> _Found | None:
        """No answer, and known to be none, when the text names a letter that no choice has."""
        match = re.compile(r"\s*[(\[]?([A-Z])(?:[)\].,;:!]|\s*$)", re.MULTILINE).match(text, at)
        return _Found(None, match.end()) if match and match[1] not in self._index else None
