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

from nanoeval_solvers._letters import letters_for

# Look-alikes of Latin letters in other scripts. Only those that mean the same choice however they
# are counted: Cyrillic В looks like B and is the third letter of its alphabet, so it is ambiguous.
_LOOK_ALIKES = str.maketrans({"А": "A", "С": "C", "Α": "A", "Β": "B", "Ε": "E"})

_ANSWER_WORDS = (
    r"(?<!\w)(?:answers?|ans|solution|conclusion|result|"
    "antwort(?:en)?|lösung|réponses?|reponses?|respuestas?|respostas?|rispost[ae]|antwoord|"
    "svar|odpowied[źz]|odpověď|vastaus|cevap|yanıt|jawaban|câu trả lời|đáp án|"
    "ответы?|відповідь|απάντηση|الإجابة|الجواب|תשובה|उत्तर|คำตอบ)|"
    # Scripts without spaces between words.
    "答案|回答|选择|選擇|答え|解答|正解|답변|정답|답"
)
_STATEMENT = re.compile(
    rf"(?P<word>{_ANSWER_WORDS}|(?<!\w)(?:choice|option|selection)s?)"
    # "The answer to the question is …", "Answer (letter only): …": a few words on the way.
    r"(?P<gap>(?:\s*\([^()\n]{0,40}\))?(?:\s+(?:to|for|of|from|among|choice|option|letter|number|"
    r"should|must|would|will|could|might|can|here|therefore|thus|then|the|this|that|above|"
    r"correct|question|problem|be|being|given|\#?\d+)){0,6}(?:\s+\w+(?=\s*[:=]))?)"
    r"\s*(?:[:=→>\-–—]+|\bis\b|\bare\b|\bbe\b|\bwas\b|\best\b|\bist\b|\bes\b|\bé\b|\bè\b|\bjest\b|"
    r"是|为|為|は|이|은|는|:)\s*(?:[:=→>\-–—]+\s*)?",
    re.IGNORECASE,
)
_BARE_STATEMENT = re.compile(
    rf"(?:^|\n|(?<=[.!?。]))\s*(?:final\s+|correct\s+|my\s+|the\s+)*(?:{_ANSWER_WORDS})"
    r"(?!\s*(?:[:=]|is\b))\.?\s*\n?\s*",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_LATEX_WRAPPER = re.compile(
    r"\\(?:text|textbf|textit|mathrm|mathbf|mathsf|mbox|operatorname)\s*\{([^{}]*)\}"
)
_MARKUP = re.compile(
    r"[*`$#]+|(?<!\w)_+|_+(?!\w)|\\[()\[\]]|</?[A-Za-z]{3,}>|[\"“”„«»‘’]|(?<!\w)'|'(?!\w)"
)
_THOUGHT = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.IGNORECASE | re.DOTALL)
_OPEN_THOUGHT = re.compile(r"<(?:think|thinking|reasoning)>", re.IGNORECASE)
_CLOSED_THOUGHT = re.compile(r"^.*</(?:think|thinking|reasoning)>", re.IGNORECASE | re.DOTALL)
_NEGATED = re.compile(r"\s*(?:not|neither|never|isn't|no longer|nicht|pas|no es)\b", re.IGNORECASE)
_NEGATED_BEFORE = re.compile(
    r"\b(?:not|isn't|never|wrong|incorrect|first|initial|previous)\s+(?:the\s+|an?\s+|my\s+)?"
    r"(?:\w+\s+)?$",
    re.IGNORECASE,
)
_NONE = re.compile(
    r"\s*[\[({]?\s*(?:none|no (?:choice|option|answer)s?|nothing|∅|\{\s*\}|\[\s*\])\b",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(
    r"\s*(?:[,;/&+、،·|]|and/or|\b(?:and|und|et|y|e|i|и|ja|og|och|ve|dan|および|и)\b|和|与|及|と|و)\s*"
    r"(?:(?:and|und|et|y|also)\b\s*)?",
    re.IGNORECASE,
)
_OR = re.compile(
    r"\s*(?:,\s*)?\b(?:or|oder|ou|o|или|veya)\b\s*(?:(?:maybe|possibly|perhaps|even|also)\b\s*)*|"
    r"\s*或\s*",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"\s*(?:(?:the|only|clearly|definitely|most likely|likely|probably|indeed|therefore|simply|"
    r"options?|choices?|letters?|answers?|statements?|items?|both|either|variant|wariant|"
    r"opción|opciones|option|réponse|вариант|пункт)\b\s*[:#]?\s*)*",
    re.IGNORECASE,
)
# What may follow the label that a line begins with: "A is …" is a sentence about it.
_AFTER_LINE = re.compile(
    r"\s*(?:$|[.,;:!?()\]}>、。，；)\n=|✓✔✅☑]|[\-–—/](?!\w)|(?:because|since|as|for|which)\b)",
    re.IGNORECASE,
)
# What may follow a bare letter in a sentence without making it a word of that sentence.
_AFTER = re.compile(
    r"\s*(?:$|[.,;:!?()\]}>、。，；)\n=|✓✔✅☑]|[\-–—/](?!\w)|(?:because|since|as|is|are|was|due|for|which|with|based|"
    r"given|per|by|and|but|or|not|rather|over|instead|weil|da|denn|car|parce|porque|perch[eé])\b)",
    re.IGNORECASE,
)
_OPENING = re.compile(r"\s*(?:(?:option|choice)\s+)?[(\[{<]?\s*", re.IGNORECASE)
_BRACKETS = ("(", "[", "{", "<")
_CLOSING = (")", "]", "}", ">")
_LAST_LINE = re.compile(r"(?:\A|\n)[*# ]*Answer:[* ]*\(?([A-Z])\)?[.*]*\Z")
_LINE = re.compile(
    r"\s*(?:>+\s*|[-•✓✔✅☑➡→👉]\s*|(?:(?:so|thus|therefore|hence),?|it(?:'s| is| must be))\s+)*",
    re.IGNORECASE,
)
_ARE_RIGHT = re.compile(
    r"\s+are\s+(?:all\s+|both\s+|the\s+|only\s+)*(?:correct|right|true|answers)\b", re.IGNORECASE
)
_DECLARED = re.compile(
    r"(?:\b(?:options?|choices?|answers?|letters?)\s+)?[(\[]?(?P<label>\b[A-Z]{1,2}\b)[)\]]?"
    r"(?:\s*[:.)\-–—][^.\n]{0,200}?|\s*\([^()\n]{0,200}\))?"
    r"\s*,?\s+(?:is|seems|appears|looks|must be|would be|should be|has to be)\s+"
    r"(?:to be\s+|therefore\s+|thus\s+|clearly\s+|definitely\s+|indeed\s+|most\s+)*"
    r"(?:the\s+|my\s+)?"
    r"(?:(?:only|single|most|best|likely|final)\s+)*"
    r"(?:correct|right|true|best|accurate|appropriate|answer|choice|option)\b"
)
_CHOSEN = re.compile(
    r"\b(?:choose|chose|choosing|pick|picking|select|selecting|selected|go(?:ing)?\s+with|"
    r"opt(?:ing)?\s+for|settle\s+on|say|guess|lean(?:ing)?\s+(?:towards?|to)|"
    r"points?\s+to|leads?\s+(?:us\s+)?to|matches|correct(?:\s+\w+)?:)\s*:?\s+"
    r"(?:answer\s+|option\s+|choice\s+|letter\s+|the\s+)*[(\[]?(?P<label>\b[A-Z]{1,2}\b)[)\]]?"
    r"(?=\s*(?:$|[.,;:!?)\]\n\-–—]|\(|because\b|since\b|as\b|over\b))",
    re.IGNORECASE,
)


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
    plain = _LAST_LINE.search(text)
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
    text = unicodedata.normalize("NFKC", reply)
    if "<" not in text:
        return text.strip()
    text = _THOUGHT.sub("\n", text)
    text = _CLOSED_THOUGHT.sub("", text)  # the opening tag can be part of the prompt
    if _OPEN_THOUGHT.search(text):
        return None
    return text.strip()


def _plain(text: str) -> str:
    """`text` without markup."""
    return _MARKUP.sub("", _LATEX_WRAPPER.sub(r"\1", text))


@functools.cache
def _label_pattern(n_choices: int) -> re.Pattern[str]:
    labels = sorted(letters_for(n_choices), key=len, reverse=True)
    return re.compile(rf"(?P<label>{'|'.join(labels)})(?![\w'])", re.IGNORECASE)


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _folded(text: str) -> str:
    return " ".join(_plain(text).casefold().split()).strip(" .!,;:")


class _Reader:
    """Reads a cleaned reply to one question."""

    def __init__(self, choices: Sequence[str], multiple: bool) -> None:
        self._choices = choices
        self._multiple = multiple
        self._index = {letter: i for i, letter in enumerate(letters_for(len(choices)))}
        self._label = _label_pattern(len(choices))

    def boxed(self, text: str) -> _Found | None:
        boxes = _BOXED.findall(text)
        if not boxes:
            return None
        inside = _plain(boxes[-1])
        return self._names(inside, 0) or self._choice_text(inside) or _Found(None, 0)

    def stated(self, text: str) -> _Found | None:
        """The last statement of an answer that names a choice, or says that it names none."""
        plain = _plain(text)
        last: _Found | None = None
        starts = [
            (match.end(), match)
            for pattern in (_STATEMENT, _BARE_STATEMENT)
            for match in pattern.finditer(plain)
        ]
        for start, match in sorted(starts, key=lambda pair: pair[0]):
            if last is not None and start < last.end:
                continue
            if _NEGATED_BEFORE.search(plain[: match.start()]):
                continue
            if _NEGATED.match(plain, start):
                continue
            found = self._text_or_names(plain, start)
            if found is not None:
                last = _Found(found.picked, max(found.end, start))
        return last

    def _text_or_names(self, text: str, start: int) -> _Found | None:
        """What a statement that begins at `start` names, by the text of a choice or by labels."""
        rest = text[start:].lstrip().split("\n")[0]
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
        for line in lines:
            named = self._names(line, _skip(_LINE, line, 0), whole_line=True)
            if named is not None:
                found.append(named)
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
        for pattern in (_DECLARED, _CHOSEN):
            for match in pattern.finditer(plain):
                label = match["label"]
                if label == "a" or _NEGATED_BEFORE.search(plain[: match.start()]):
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
        if self._multiple and _NONE.match(text, at):
            return _Found(frozenset(), at)
        at = _skip(_LEAD, text, at)
        picked: list[int] = []
        either = False
        while True:
            label = self._one_label(text, at, whole_line=whole_line and not picked)
            if label is None:
                break
            indices, at = label
            picked += indices
            alternative, separator = _OR.match(text, at), _SEPARATOR.match(text, at)
            between = alternative or separator
            if between is None:
                break
            following = between.end()
            if self._unknown_label(text, following):
                return _Found(None, following)
            if self._one_label(text, following, whole_line=False) is None:
                break
            either = either or alternative is not None
            at = following
        if not picked:
            return self._unknown_label(text, at)
        if (
            whole_line
            and len(picked) > 1
            and not (_AFTER_LINE.match(text, at) or _ARE_RIGHT.match(text, at))
        ):
            return None
        unique = frozenset(picked)
        clear = len(unique) == 1 or (self._multiple and not either)
        return _Found(unique if clear else None, at)

    def _one_label(self, text: str, at: int, *, whole_line: bool) -> tuple[list[int], int] | None:
        """The indices of the label at `at` and where it ends."""
        start = _skip(_OPENING, text, at)
        match = self._label.match(text.translate(_LOOK_ALIKES), start)
        if match is None:
            return self._run_of_labels(text, start)
        label, end = match["label"], match.end()
        if text[at:start].strip()[-1:] in _BRACKETS and text[end : end + 1] in _CLOSING:
            return [self._index[label.upper()]], end + 1
        ends = (_AFTER_LINE if whole_line else _AFTER).match(text, end)
        if label == "a" and ends and text[end : end + 1] == " ":
            return None  # the article
        if not (ends or self._goes_on(text, end) or self._reads_as_label(label, text, end)):
            return None
        return [self._index[label.upper()]], end

    def _goes_on(self, text: str, end: int) -> bool:
        """Whether another label follows the one that ends at `end`."""
        separator = _OR.match(text, end) or _SEPARATOR.match(text, end)
        if separator is None:
            return False
        match = self._label.match(text, _skip(_OPENING, text, separator.end()))
        return match is not None and match["label"] != "a"

    def _reads_as_label(self, label: str, text: str, end: int) -> bool:
        """Whether the label is followed by the text of its own choice."""
        rest = _folded(text[end:].split("\n")[0])
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
