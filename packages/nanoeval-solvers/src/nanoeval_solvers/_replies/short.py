"""What a reply answers where no choices are given: a text, as it was written. Pure.

The last thing counts that is stated as the answer: an answer line, a box, `#### …`, what a heading
"Final answer" heads, or a sentence "… the answer is …". Without any, a reply of one short line is
the answer, or a last line in bold.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from nanoeval_solvers._replies import ReadBy, cleaning, structured
from nanoeval_solvers._replies.words import ANSWER, IS, ROLES, SO, UNSPACED

_SHORT = 100  # characters of a reply that can be nothing but an answer
_NOT_HERE = frozenset("key one selection pick bet vote verdict decision response".split())  # noqa: SIM905


def _any(role: str, *, spaced: bool) -> str:
    entries = [
        re.escape(word)
        for word, one in ROLES.items()
        if one == role
        and word not in _NOT_HERE
        and bool(re.search(f"[{UNSPACED}]", word)) != spaced
        and (word[0].isalpha() or role != IS)
    ]
    return "|".join(sorted(entries, key=len, reverse=True))


_NOUN = rf"(?:(?<!\w)(?:{_any(ANSWER, spaced=True)})(?!\w)|{_any(ANSWER, spaced=False)})"
_IS = (
    rf"(?:\s(?:{_any(IS, spaced=True)})(?!\w)\s*[:：]?|\s*(?:{_any(IS, spaced=False)})"
    r"|\s*[:：=|])"
)
_BEFORE = (
    rf"(?:(?:my|your|the|our|{_any(SO, spaced=True)}|final|correct|right|short|exact|numerical|"
    r"true|best|full|la|le|el|die|der|das|a|o|richtige|bonne|correcta|правильный|最终|最終|正确)[\s,]*)*"
)
_LINE = re.compile(
    rf"[\s>#*_`|•✅☑✔\[【-]*{_BEFORE}{_NOUN}[\])】]?[\s*_`]*(?:\([^()\n]{{0,40}}\))?[*_`]*{_IS}"
    r"[\s*_`:]*(?P<answer>.*?)[\s*_`|]*",
    re.IGNORECASE,
)
_HEADING = re.compile(
    rf"[\s>#*_`•✅\[【-]*{_BEFORE}{_NOUN}[\])】]?[\s*_`]*[:：]?[\s*_`]*", re.IGNORECASE
)
_SENTENCE = re.compile(
    rf"{_NOUN}[*_`]*(?:,[^,.:=\n]{{1,30}},)?(?:\s(?:to|of|for|here|then|therefore|thus)\b[^.:\n=]{{0,60}})?{_IS}[\s*_`:]*"
    r"(?P<answer>[^\n]{1,200})",
    re.IGNORECASE,
)
_HASHES = re.compile(r"\s*####\s*(?P<answer>[^\n#]+)")
_DENIED = re.compile(
    r"(?:not|nicht|pas|no|не|不)\b|不|\[[^\]]*\]$|<[^>]*>$|\?+$|\W*$", re.IGNORECASE
)
_DENIES = re.compile(
    r"(?:n't|\b(?:not|doubt|if|suppose|assum\w+|whether|many|first|wrong))\b(?:(?!\bbut\b)[^.;]){0,40}$",
    re.IGNORECASE,
)
_RETRACTED = re.compile(
    r"\b(?:i retract|i take (?:that|it|this) back|scratch that|disregard (?:that|this|my)|"
    r"i (?:do not|don't) know|i was wrong|"
    r"that(?:'s| is| was) (?:wrong|incorrect|not (?:right|correct)))\b"
    r"|(?:^|[.!?]\s)\s*(?:wait|hmm+|oops|actually|hold on|no,)(?!\w)",
    re.IGNORECASE | re.MULTILINE,
)
_TAG = re.compile(r"<(/?)\s*(?:final[_ -]?)?(?:answer|solution|response)\s*>", re.IGNORECASE)
_ENDS = re.compile(
    r"(?<!\d)(?<!\b[A-Z][a-z])(?<!\b[A-Z])[.!?。](?=\s|$)|(?<=\d)\.(?=\s|$)|[。！？]"
)
_REMARK = re.compile(r"\s+\((?!mod\b)[^()]*\s[^()]*\)$")


class AnswerRead(NamedTuple):
    """The answer that a reply states, and what it was read from; None where it states none."""

    text: str | None
    read_by: ReadBy | None


NONE = AnswerRead(None, None)


def read_answer(
    reply: str, *, parsing: Literal["strict", "lenient"] = "lenient", truncated: bool = False
) -> AnswerRead:
    """Return the answer that `reply` states, as it is written there.

    Args:
        reply: what the model wrote; thoughts in it are not read.
        parsing: "strict" reads JSON, an answer line, a box, or a reply of one short line;
            "lenient" reads sentences too.
        truncated: the reply was cut off: then only what is explicit is read.
    """
    text = cleaning.before_next_question(cleaning.clean(reply), lambda _: False)
    text = _TAG.sub(lambda tag: "\n" if tag[1] else "\nAnswer: ", text)
    found = structured.object_in(text)
    if found is not None and (values := structured.answers_in(found[0], ())) is not None:
        said = {str(value).strip() for value in values if isinstance(value, str | int | float)}
        taken_back = _RETRACTED.search(found[2])
        if len(said) == len(values) == 1 and not taken_back and "" not in said:
            return AnswerRead(said.pop(), "structured")
        return NONE
    stated = _stated(text, prose=parsing == "lenient" and not truncated)
    if stated is not None:
        return stated
    if truncated:
        return NONE
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if len(lines) == 1 and len(lines[0]) <= _SHORT and not _RETRACTED.search(lines[0]):
        return AnswerRead(_bare(lines[0]), "bare")
    bold = re.fullmatch(r"\*\*([^*]{1,100})\*\*\.?", lines[-1]) if lines else None
    if bold is not None and parsing == "lenient" and not bold[1].endswith(":"):
        return AnswerRead(_bare(bold[1]), "prose")
    return NONE


def _stated(text: str, *, prose: bool) -> AnswerRead | None:
    """Return the last answer that is stated; None where none is, `NONE` where it is taken back."""
    boxes: dict[int, list[str]] = {}  # by the number of their line
    for begin, content in _boxed_at(text):
        if content.strip():
            boxes.setdefault(text.count("\n", 0, begin), []).append(content)
    said: AnswerRead | None = None
    end = at = 0
    lines = text.split("\n")
    for number, line in enumerate(lines):
        start, at = at, at + len(line) + 1
        following = lines[number + 1 : number + 5]
        new = _of_line(line, following, boxes.get(number, []), prose=prose)
        if new is not None:
            said, end = new[0], start + new[1]
    if said is not None and _RETRACTED.search(text, end):
        return NONE
    return said


def _boxed_at(text: str) -> list[tuple[int, str]]:
    """Return where boxes of `text` begin, and their contents; one without end is left out."""
    boxes = cleaning.boxes(text)
    return [(start.start(), text[start.end() : end.start()]) for start, end in boxes if end]


def _of_line(
    line: str, following: list[str], boxes: list[str], *, prose: bool
) -> tuple[AnswerRead, int] | None:
    """Return the answer that `line` states, or heads, and where in it what states it ends."""
    asked_for = _LINE.fullmatch(line) or _HASHES.fullmatch(line)
    is_empty = asked_for is not None and not asked_for["answer"]
    if is_empty or _HEADING.fullmatch(line):
        below = next((one for one in following if one.strip(" `")), "")
        if len(below.strip()) <= _SHORT and not _LINE.fullmatch(below):
            content = [one for _, one in _boxed_at(below)]
            answer = content[-1].strip() if content else _bare(below)
            return (AnswerRead(answer, "answer_line") if answer else NONE), len(line)
        return None
    said: tuple[AnswerRead, int] | None = None
    at = 0
    if asked_for is not None:
        within = [content for _, content in _boxed_at(asked_for["answer"])]
        stated = asked_for["answer"] if within else _until_sentence(asked_for["answer"])
        answer = within[-1].strip() if within else _bare(stated)
        at = asked_for.start("answer") + len(stated)
        if not answer or _DENIED.match(answer):
            return NONE, at
        said = AnswerRead(answer, "boxed" if within else "answer_line"), at
    while prose and (sentence := _SENTENCE.search(line, at)):
        stated = _until_sentence(sentence["answer"])
        at = sentence.start("answer") + len(stated)
        before = line[max(0, sentence.start() - 60) : sentence.start()]
        answer = _bare(stated)
        denied = _DENIES.search(before) or _DENIED.match(answer) or _boxed_at(stated)
        if answer and not denied and len(answer) <= _SHORT:
            said = AnswerRead(answer, "prose"), at
    if said is None and boxes:
        return AnswerRead(boxes[-1].strip(), "boxed"), len(line)
    return said


def _until_sentence(text: str) -> str:
    end = _ENDS.search(text)
    rest = "" if end is None else text[end.end() :].strip(" *_`$")
    return text if end is None or not rest else text[: end.start()]


def _bare(text: str) -> str:
    """Return `text` without markup around it, a final period and a remark in parentheses."""
    text = text.strip().strip("*_`").strip()
    if not text.endswith("..."):
        text = text.removesuffix(".").removesuffix("。").strip().strip("*_`").strip()
    text = re.sub(r"^[–—-]\s+", "", text)
    for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        inner = text[len(opening) : -len(closing)]
        if len(text) > 2 * len(opening) and text == f"{opening}{inner}{closing}":
            text = inner.strip() if opening not in inner else text
    text = re.split(r"\s(?:because|since|weil|porque|parce que)\s|, not\s", text, maxsplit=1)[0]
    return _REMARK.sub("", text.removesuffix("です").removesuffix("입니다"))
