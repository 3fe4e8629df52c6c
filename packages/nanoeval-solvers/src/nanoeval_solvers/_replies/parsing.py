"""What a reply answers: from the text of a model to the choices it names. Pure.

A reply is cleaned (`cleaning`), cut into words with roles (`words`), sentences, clauses. A clause
states choices (`mentions`), denies them, supposes them, says what others think, or restates the
options; only what is stated counts. Of two statements the later one counts where it concludes or
corrects; where no rule decides between them there is no answer. It is never replaced by a guess:
a wrong pick is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any, Literal, NamedTuple

from nanoeval_solvers._replies import ReadBy, cleaning, structured
from nanoeval_solvers._replies.letters import listed
from nanoeval_solvers._replies.mentions import LABEL, Group, MarkedText, Names, after, joins
from nanoeval_solvers._replies.words import Word

Parsing = Literal["strict", "lenient"]


class Reading(NamedTuple):
    """The choices that a reply names, and what they were read from; None where it names none."""

    picked: frozenset[int] | None
    read_by: ReadBy | None


UNREAD = Reading(None, None)

# A last line as it is asked for: what the grammar finds, at a fiftieth of the cost.
_LAST_LINE = re.compile(r"(?:#+ |\*\*)?Answer:(?:\*\*)? ?(?:\*\*)?\(?([A-Z])\)?\.?(?:\*\*)?")

_EXPLICIT = re.compile(r"answer|final|box|[:{]", re.IGNORECASE)

# The grammar, over the roles (see `words`) of what stands before and after the named choices.
_OPEN = r"fdNPe,'\"(\[{<"
_ANCHORS = {
    "noun": re.compile(
        rf"[NKP](?:[NPKVBOfdwibeSIrCc9,'\"]|\([^()]{{0,16}}\)){{0,10}}[c:=—S-]+[{_OPEN}cVObrSi:]*$"
        rf"|^#?[fdSVrKPb,'\"\[]*(?:[NK][fVKP]*)+\]?[{_OPEN}]*$|^#?[fSr]*[VB][fNP]*[c:=][{_OPEN}]*$"
    ),
    "options": re.compile(
        rf"(?:V[fNPw]*O[fwb]*[c:=]+|O[fwbi]*V[fNP]*[c:=]+|[cfI]V[fNPi]*[c:])[{_OPEN}]*$"
    ),
    "chooses": re.compile(rf"C[fbNPiV]*[:=]?[{_OPEN}VS]*$"),
    "it": re.compile(rf"(?:^#?|[,:b])[SrfbwiC9%,]{{0,8}}(?:I|i[frSw]?c)[:]?[{_OPEN}VSrc]*$"),
    "so": re.compile(rf"^#?f+,$|^#?[rfb,]*S[S,:f]*(?:[iI]?c?)[:]?[{_OPEN}VS]*$"),
    "but": re.compile(rf"^#?r[r,f]*[c{_OPEN}]*$"),
}
"""What a choice is named as, by the words before it."""
_IS = re.compile(rf"^#?[、ci{_OPEN}]*$")  # after a clause that denied another one
_LINE_START = re.compile(r"^#?[fdVNPKbO'\"(\[{<:=c>-]*$")
_IS_RIGHT = re.compile(
    r"^,?[NPe]{0,2}(?:B|I[fS]?(?=[.,;!]|$)|(?!cV+f?w)[cI][frSbIe'\"]*(?:[VN]|fP)(?![^.,;:!?bkrSL]*[nXz]|[^.,;:!?krSL]*o)"
    r"|[efc]*V(?!,n[^L]*$)(?=[.,;:!?e]|$)|[,—-][fV]*N+(?=[.,;!]|$))"
)
_IS_WRONG = re.compile(
    r"^,?[ef]*(?:[cI][fSbremw]?[fSbrem]*[nXz]|m?X|[ec]*z|[fm]*n[fScb]*(?:[VNXwe9]|[.,;!?]|$))"
)
_NOT_ANOTHER = re.compile(r"^,?n[fdNP'\"(]*(?:L|$)")  # "B, not A"
_IS_CLEARLY_WRONG = re.compile(
    r"^,?[ef]*(?:(?:[cI][fSbre]*)?X|[cI][fSbre]*n[fSb]*[VN]|[fm]*nc[fSb]*[VN])"
)
_ENDS_LINE = re.compile(r"[.,;:!)\]}e✓]*(?:\([^()nmhozXL]*\)[.!]*)?")  # "B (90 % sure)."
_EXPLAINS = re.compile(r"^[.,;:)—-]*[bifIhoN]")
_ASKS_BACK = re.compile(r"r[^L]*\?|[f,]*X[.!]*|r[^LuO]*X[^L]*")
_MAKES_RIGHT = re.compile(r"^f*[VN]")
_ENDS = re.compile(r"^[e'\"]*(?:[NPf]|fN)?(?:$|[.,;:!?|…—brnSohkIeizumC\[-])")
_ENDS_HARD = re.compile(r"^[e'\"]*[NP]?(?:$|[.,;:!|…—\[-]|[brnSoh(])")
_RETRACTED_BEFORE = re.compile(r"^#?[r,fS!]*$")
_HEADER = re.compile(r"^[#>\s'\"]*(?:[fVKNPbO]*[NKP][fNPVbw]{0,4}c?[:=]?|[fr]*V[fNP]*[:=])['\"]*$")
_ANSWER_LINE = re.compile(r"[fVKb'\"]*[NK][fV]*(?:\([^()]*\))?[:=]")
_BULLET = "-•>*+9.'\")(|"
_POSITIVE = re.compile(r"(?:^|[?:,.|)(=S—-]|[cI][frS]*)[fNP'\"(]*V[NP'\")]*(?:$|[.,;:!?|)(br—-])")
_NEGATIVE = frozenset("nXz")
_NO = listed("no nope nein non нет")

_DENIES = frozenset("nXmu0")
_BECAUSE = listed(
    """
    because since weil denn porque parce que puisque car perché omdat bo koska çünkü karena vì 因为
    因為
    """
)
_TAKES_BACK = listed("actually wait hmm oops sorry hold on then no")
_HARD_BUTS = listed(
    """
    but however sondern mais pero sino mas ma ale ama но а ancak tetapi 而是 但 但是 lecz però bensì
    """
)

_ABBREVIATED = listed("fig figs eq eqs sec no nos vs cf dr ch ref app vol pt st mr mrs ms prof ex")
_FINAL = listed("final finally 最终 最終 finale endgültige окончательный")
_YES = listed("yes yep yeah ja oui sí да 是 是的")
_ALSO = listed("also equally too likewise auch aussi también anche также")
_ANDS = listed("and und et y e и")
_WINDOW = 40  # words before and after a mention that are looked at


_NOBODY: frozenset[int] = frozenset()


class _Statement(NamedTuple):
    """What a clause states; `picked` is None where it names no single choice."""

    picked: frozenset[int] | None
    read_by: ReadBy
    line: int = 0
    marked: bool = False  # it concludes or corrects
    adds: bool = False  # it leaves room for others, as one of several does
    lasts: bool = False  # "C is right" holds for the whole reply
    retracts: bool = False  # it takes back all that was said
    denies: bool = False  # it says that `picked` is wrong


def read_choices(
    reply: str | None,
    choices: Sequence[str],
    *,
    multiple: bool = False,
    parsing: Parsing = "lenient",
    truncated: bool = False,
) -> Reading:
    """Return the choices that `reply` answers with, and what they were read from.

    Args:
        reply: what the model wrote; thoughts in it are not read.
        choices: the texts of the choices, shown to the model as A, B, C, …
        multiple: whether several choices may be right: then the answer is a set, and "none" is
            the empty one.
        parsing: "strict" reads JSON, an answer line, a box, or a reply that is nothing but the
            choice; "lenient" reads prose too.
        truncated: the reply was cut off: then only JSON, an answer line or a box is read.
    """
    text = cleaning.clean(reply or "")
    if not text:
        return UNREAD
    names = Names(choices, multiple=multiple)
    text = cleaning.before_next_question(text, names.restates)
    before, _, last = text.rpartition("\n")
    asked_for = _LAST_LINE.fullmatch(last)
    if asked_for and asked_for[1] in names.index:
        line_before = before.rstrip().rpartition("\n")[2]
        if not _EXPLICIT.search(line_before):
            return Reading(frozenset({names.index[asked_for[1]]}), "answer_line")
    text = names.lettered(text)
    statements: list[_Statement] = []
    found = structured.object_in(text)
    if found is not None:
        content, before, text = found
        statements += _Lines(names, before).statements()
        statements += _from_json(content, names)
    elif not truncated and (alone := names.alone(text)) is not None:
        return _reading(alone.picked, "boxed" if alone.boxed else "bare")
    lines = _Lines(names, text)
    statements += lines.statements()
    if parsing == "strict" or truncated:
        statements = [one for one in statements if one.read_by != "prose" or one.retracts]
    said = _decide(statements, multiple=multiple)
    if not (parsing == "strict" or truncated or found):
        if said is None:
            edge, listed = lines.only_line(), lines.verdicts()
            if edge and listed and edge.picked != listed.picked:
                return UNREAD
            said = edge or listed or lines.only_named()
        elif said.read_by == "prose" and not multiple:
            edge = lines.only_line()
            if edge and edge.line == lines.count and edge.picked != said.picked:
                # A last line "B": it concludes what was said of options one by one.
                said = edge if said.lasts or said.retracts else None
    return UNREAD if said is None else _reading(said.picked, said.read_by)


def _reading(picked: frozenset[int] | None, read_by: ReadBy) -> Reading:
    return UNREAD if picked is None else Reading(picked, read_by)


def _from_json(content: dict[str, Any], names: Names) -> list[_Statement]:
    values = structured.answers_in(content, names.index.keys())
    if values is None:
        return []
    read = set()
    for value in values:
        parts = value if isinstance(value, list) else [value]
        groups = [names.alone(str(part)) for part in parts if isinstance(part, str | int | float)]
        named = [group.picked for group in groups if group and group.picked is not None]
        picked = frozenset[int]().union(*named)
        is_clear = len(named) == len(parts) and (names.multiple or len(picked) == 1)
        read.add(picked if is_clear else None)
    return [_Statement(read.pop() if len(read) == 1 else None, "structured")]


def _decide(statements: Sequence[_Statement], *, multiple: bool) -> _Statement | None:
    """Return which of the statements counts, given in order; None without any."""
    said: _Statement | None = None
    for new in statements:
        if new.denies:
            if said is not None and (said.picked or _NOBODY) & (new.picked or _NOBODY):
                said = _Statement(None, new.read_by, new.line, retracts=True)
        elif said is None or new.retracts:
            said = new
        elif said.picked == new.picked:
            said = new if said.read_by == "prose" else said._replace(line=new.line)
        elif multiple and said.adds and new.adds and (said.lasts or new.line <= said.line + 1):
            said = new._replace(picked=(said.picked or _NOBODY) | (new.picked or _NOBODY))
        elif new.marked or said.retracts or (said.read_by, new.read_by) == ("boxed", "answer_line"):
            said = new
        elif new.read_by != "prose" and (said.read_by == "prose" or new.line > said.line + 1):
            said = new  # the answer that was asked for, after the work
        else:
            said = _Statement(None, new.read_by, new.line)
    return said


def _unclear(line: int) -> _Statement:
    return _Statement(None, "prose", line, marked=True)


class _Lines:
    """Reads a reply line by line."""

    def __init__(self, names: Names, text: str) -> None:
        self._names = names
        self._text = MarkedText(names, text)
        self._told: list[_Statement] = []
        self._said: list[_Statement] = []  # of those, what names an answer
        self._verdicts: dict[frozenset[int], set[bool]] = {}
        self._denied = False  # the clause before denied a choice
        self._took_back = False  # the sentence before was a "Wait, no."
        lines = groupby(self._text.words, key=lambda word: word.role == "\n")
        self._lines = [list(line) for is_end, line in lines if not is_end]
        self.count = len(self._lines)

    def statements(self) -> list[_Statement]:
        """Return all statements, in their order."""
        number = 0
        while number < self.count:
            line = self._lines[number]
            number += 1
            if number < self.count and _HEADER.match(_roles(line)):
                line, number = self._with_object(line, number)
            self._read_line(line, number)
        if self._said and re.search(r"[.?!]r[rfS,!.]*$", _roles(self._lines[-1])):
            self._told.append(_unclear(number))  # "B. Hmm, wait."
        return self._told

    def _may_name(self, word: Word) -> bool:
        return word.role == LABEL or (word.text in self._names.index and word.text not in "AI")

    def _with_object(self, header: list[Word], number: int) -> tuple[list[Word], int]:
        """Return a line such as "Final answer:" with the line or list of choices below it."""
        end = header[-1].end
        joined = [*header, Word(":", ":", end, end)]
        first = number
        while number < self.count:
            line = self._lines[number]
            start = _first_not_in(_BULLET, line)
            group = self._text.group(line, start, weak=True)
            if group is None:
                break
            ends = group.end == len(line)
            if number > first:
                if not (ends and self._names.multiple):
                    break
                joined.append(Word(",", ",", line[0].start, line[0].start))
            joined += line[start:]
            number += 1
            if not ends:
                break
        return joined, number

    def _read_line(self, line: list[Word], number: int) -> None:
        self._note_verdict(line)
        self._denied = False
        made = False  # this line has stated something, asides apart
        asked: list[_Statement] = []
        for sentence in _sentences(line):
            scopes: set[str] = set()
            marked = unread = taken_back = False
            statements: list[_Statement] = []
            if asked and sentence[0].text.lower() in _YES:  # "Is it B? Yes."
                statements, asked = asked, []
            clauses, asides = _clauses(sentence)
            for place, clause in enumerate(clauses):
                first = clause[0]
                if first.role in "Sr":
                    scopes.clear()
                    marked = marked or place > 0 or first.role == "r" or bool(self._said)
                    taken_back = taken_back or first.text.lower().split()[0] in _TAKES_BACK
                new = [
                    one._replace(marked=one.marked or marked or self._took_back)
                    for one in self._clause(clause, number, scopes, at_start=first is line[0])
                ]
                denials = [one for one in new if one.denies]
                self._told += denials
                wrong = {one.picked for one in denials}
                statements = [one for one in statements if one.picked not in wrong]
                new = [one for one in new if not one.denies]
                statements = self._with(statements, new, clause, number)
                told = not self._denied or any(word.role == "m" for word in clause)  # "maybe B"
                unread = unread or (told and any(self._may_name(w) for w in clause))
            if any(word.role == "?" for word in sentence[-2:]):
                asked, statements = statements, []
            elif taken_back and unread and not statements and self._said:
                statements = [_unclear(number)]
            if not statements and self._offers_another(sentence):
                statements = [_unclear(number)]
            asks = _ASKS_BACK.fullmatch(_roles(sentence)) is not None  # "Wait, is it?", "Wrong!"
            # "It's A, but I'm torn."
            torn = any(one.role == "r" and two.role == "R" for one, two in pairwise(sentence))
            if ((torn or not statements) and self._retracts(sentence, number)) or (
                asks and made and not statements
            ):
                statements = [_Statement(None, "prose", number, retracts=True)]
            self._took_back = taken_back and not statements
            made = made or bool(statements)
            self._tell(statements)
            for aside in asides:
                self._read_aside(aside, number)
        head = _ANSWER_LINE.match(_roles(line))
        if not made and head and 0 < len(line) - head.end() <= 8:
            self._tell([_Statement(None, "answer_line", number)])  # it names no choice

    def _tell(self, statements: list[_Statement]) -> None:
        self._told += statements
        self._said += [one for one in statements if not one.denies]

    def _read_aside(self, aside: list[Word], number: int) -> None:
        """Read what stands in parentheses: "B (or C)", "A (should be B)"."""
        corrects = re.match(r"n?,?c[fdPN]*L", _roles(aside)) is not None
        if corrects or (joins(aside[0]) and any(self._may_name(word) for word in aside)):
            self._tell([_unclear(number)])
        scopes: set[str] = set()
        for clause in _clauses(aside)[0]:
            self._tell([*self._clause(clause, number, scopes, at_start=False)])

    def _with(
        self,
        statements: list[_Statement],
        new: list[_Statement],
        clause: list[Word],
        number: int,
    ) -> list[_Statement]:
        """Return the statements of a sentence so far with the new ones of its next clause."""
        roles = _roles(clause)
        if new and new[-1].lasts and _says(clause[1:], _ALSO):
            if not (self._names.multiple and (self._said or statements)):
                new = [_unclear(number)]
            new = [one._replace(marked=False) for one in new]
        if roles[0] == "k" and statements:  # "it is B, though I believe it is A"
            other = self._clause(clause[1:], number, set(), at_start=False)
            if any(
                one.picked != statements[-1].picked and not (one.lasts or one.denies)
                for one in other
            ):
                new = [_Statement(None, "prose", number)]
        if roles[0] == "r" and LABEL not in roles and _NEGATIVE & set(roles):
            # "B is true, but does not answer the question"
            statements = [one for one in statements if not one.lasts]
        return statements + new

    def _clause(
        self, clause: list[Word], number: int, scopes: set[str], *, at_start: bool
    ) -> Iterator[_Statement]:
        """Yield what a clause states; `scopes` collects what holds for the rest of its sentence."""
        roles = _roles(clause)
        denied_before, self._denied = self._denied, False
        at, denies = 0, False
        while at < len(clause):
            role = clause[at].role
            if role in "ho" and "k" not in roles:
                scopes.add(role)
            before = ("#" if at <= _WINDOW else "") + roles[max(0, at - _WINDOW) : at]
            anchor = _anchor(before, denied_before)
            group = None
            if role == LABEL or anchor is not None or _ONLY_START.match(before):
                weak = anchor in ("noun", "chooses", "so") or before == "#"
                group = self._text.group(clause, at, weak=weak)
            if group is None or group.start != at:
                denies = denies or role in _DENIES
                at += 1
                continue
            after = roles[group.end : group.end + _WINDOW]
            kind = _kind(anchor, after, group)
            if kind is not None and self._or_another(clause[group.end :]):
                yield _unclear(number)
                return
            if kind is None:
                denies = denies or bool(_DENIES & set(roles[at : group.end]))
            held = bool(scopes) or "k" in roles
            wrong = _IS_WRONG.match(after) is not None and _NOT_ANOTHER.match(after) is None
            if wrong or denies:
                self._denied = True
                clearly = kind is not None if denies else _IS_CLEARLY_WRONG.match(after)
                if clearly and not held and not set("hm") & set(roles):
                    yield _Statement(group.picked, "prose", number, denies=True)
            elif kind is not None and not held and "h" not in after:
                several = group.picked is None and kind == "right"
                # A reason: "A is wrong because it is Lyon", "as both A and B are right".
                is_reason = (kind == "it" or several) and "b" in before[:2]
                ends = denied_before and re.match(r"^[ce.]*$", after)
                if not is_reason and (kind != "is" or ends):
                    yield self._statement(group, kind, clause[:at], number, at_start=at_start)
            at = max(group.end, at + 1)

    def _or_another(self, following: list[Word]) -> bool:
        """Return whether another choice is offered after one: "A … or B", "A is right, or B"."""
        for word, other in pairwise(following[:_WINDOW]):
            if word.role in _DENIES:
                return False
            if joins(word) is True and self._may_name(other):
                return True
        return False

    def _statement(
        self, group: Group, kind: str, before: list[Word], number: int, *, at_start: bool
    ) -> _Statement:
        roles = _roles(before[-_WINDOW:])
        explicit = at_start and kind in ("noun", "options") and _LINE_START.match(roles)
        return _Statement(
            group.picked,
            "boxed" if group.boxed else "answer_line" if explicit else "prose",
            number,
            marked=bool(set("SrK") & set(roles)) or _says(before[-6:], _FINAL),
            adds=kind in ("right", "box") or bool(explicit),
            lasts=kind == "right",
        )

    def _retracts(self, sentence: list[Word], number: int) -> bool:
        """Return whether a sentence takes back what was said, as "that is wrong" after it does."""
        roles = _roles(sentence)
        follows = bool(self._said) and self._said[-1].line >= number - 1
        for at, word in enumerate(sentence):
            if word.role == "R" and _ENDS.match(roles[at + 1 : at + 3]):
                weak = word.text.lower().startswith(("that", "this"))
                if not weak or (follows and _RETRACTED_BEFORE.match(roles[:at])):
                    return True
        return False

    def _offers_another(self, sentence: list[Word]) -> bool:
        """Return whether a short sentence puts a choice next to the one said: "Hmm, or B?"."""
        start = _first_not_in("rfS,.…—-'\"", sentence)
        if not self._said or len(sentence) > 10 or joins(sentence[start]) is not True:
            return False
        named = [self._text.named_at(word) for word in sentence]
        return any(one is not None and one[0] != self._said[-1].picked for one in named)

    # Replies that state nothing in words.

    def _note_verdict(self, line: list[Word]) -> None:
        """Remember what a line says of choices that head its parts: "B) Paris: correct"."""
        start = _first_not_in(_BULLET + "fNP", line)
        ticked = line[start] if line[start].role in "VX" and len(line[start].text) == 1 else None
        start += ticked is not None and start < len(line) - 1
        heads: list[tuple[int, int, frozenset[int]]] = []  # where it begins, ends, what it names
        begins = True
        for at in range(start, len(line)):
            word = line[at]
            named = self._text.named_at(word) if begins else None
            if named is not None and named[0]:
                heads.append((at, after(line, at, named[1]), named[0]))
            begins = word.role in ".;,|!?VXnr" or (begins and word.role in "fNP")
        if not heads or heads[0][0] != start:
            return
        for (at, head_end, picked), (end, *_) in pairwise([*heads, (len(line), 0, _NOBODY)]):
            rest = [*line[head_end:end], *([] if ticked is None else [ticked])]
            mention = self._text.mentions.get(line[at].start)
            headed = mention is not None and mention.headed
            if not (headed or ticked) and _roles(rest)[:1] not in tuple(":|)-—=?SVX"):
                continue
            # "plausible, but the evidence is against it", "not large, but right"
            rest = rest[_turn(rest) :]
            roles = _roles(rest)
            if _NEGATIVE & set(roles) or _says(rest, _NO):
                self._verdicts.setdefault(picked, set()).add(False)
            elif (ticked or _POSITIVE.search(roles)) and not set("hmo") & set(roles):
                self._verdicts.setdefault(picked, set()).add(True)

    def verdicts(self) -> _Statement | None:
        """Return what a list of options with verdicts says; None when it is no such list."""
        right = [picked for picked, said in self._verdicts.items() if said == {True}]
        if any(len(said) > 1 for said in self._verdicts.values()):
            return _Statement(None, "prose")
        if len(right) == 1 or (right and self._names.multiple):
            return _Statement(frozenset().union(*right), "prose")
        return None

    def only_line(self) -> _Statement | None:
        """Return the choice that the first or last line is, where no others begin with one."""
        heads: dict[int, Group] = {}
        picks: list[tuple[int, Group, bool]] = []
        for number, line in enumerate(self._lines):
            is_item = re.match(r"9[^.)]", _roles(line)) is None  # "1 - x" is not one
            start = _first_not_in(_BULLET + "S,", line) if is_item else 0
            group = self._text.group(line, start, weak=False)
            if group is None:
                continue
            after = _roles(line[group.end :])
            heads[number] = group
            whole = _ENDS_LINE.fullmatch(after) is not None
            because = _says(line[group.end : group.end + 2], _BECAUSE)
            if whole or because or (group.headed and _EXPLAINS.match(after)):
                picks.append((number, group, whole))
        last = len(self._lines) - 1
        *earlier, final = _sentences(self._lines[-1]) if self._lines else [[]]
        if earlier and len(earlier[-1]) > 2 and not _leads_on(earlier[-1]):
            group = self._text.group(final, 0, weak=False)  # "… . B."
            if group is not None and re.fullmatch(r"[.)!]*", _roles(final[group.end :])):
                picks.append((last, group, True))
        if self._names.multiple and len(heads) > 1:
            listed = [group.picked for _, group, whole in picks if whole and group.picked]
            if len(listed) == len(self._lines) and len(listed) < len(self._names.index):
                return _Statement(frozenset().union(*listed), "prose")
            return None
        lines = [group for number, group, whole in picks if whole and number]
        edges = {
            group.picked: number + 1 if whole else 0
            for number, group, whole in picks
            if (number == 0 and not any(_listed(group, one, 1) for one in [heads.get(1), *lines]))
            or (number == last and whole and not _listed(group, heads.get(last - 1), -1))
        }
        if len(edges) != 1:
            return None
        picked, at = edges.popitem()
        return _Statement(picked, "prose", at)

    def only_named(self) -> _Statement | None:
        """Return the one choice that a reply names, where it concludes "so … is Paris".

        What was first thought ("I was inclined towards A, but …") does not count as named.
        """
        sentences = [sentence for line in self._lines for sentence in _sentences(line)]
        if self._names.multiple or not sentences:
            return None
        named: set[frozenset[int] | None] = set()
        for sentence in sentences:
            thought = "o" in _roles(sentence)
            cut = next((i for i, word in enumerate(sentence) if word.role == "r"), len(sentence))
            for word in sentence[cut if thought else 0 :]:
                found = self._text.named_at(word)
                named |= set() if found is None else {found[0]}
        turn = _turn(sentences[-1])
        last = sentences[-1][turn:]
        roles = self._text.roles(last)
        concludes = turn > 0 or "S" in roles or re.search("L,?f+[.!]*$", roles) is not None
        picked = named.pop() if len(named) == 1 else None
        if picked is None or not concludes or _says(last, _PERSONAL) or not _IS_NAMED.match(roles):
            return None
        return _Statement(picked, "prose")


# A statement that ends in the choice: nothing in it denies, supposes, or tells of others.
_IS_NAMED = re.compile(r"^[^nXzmhoku?]+cL[,e'\")]*f*[.!]*$")
_PERSONAL = listed("i my our your favorite favourite one we")


def _leads_on(sentence: list[Word]) -> bool:
    """Return whether a letter that follows belongs to `sentence`, as in "see Fig. B"."""
    last = sentence[-2]
    asks_for_wrong = sentence[-1].role == "?" and _NEGATIVE & set(_roles(sentence))
    names = last.role == LABEL and sentence[-1].role != "?"
    return names or last.text.lower() in _ABBREVIATED or bool(asks_for_wrong)


def _listed(group: Group, neighbor: Group | None, distance: int) -> bool:
    """Return whether a line and the one at `distance` are parts of a list of the options."""
    if neighbor is None or not group.picked or not neighbor.picked:
        return neighbor is not None
    return min(neighbor.picked) - min(group.picked) == distance


_ONLY_START = re.compile(r"^#[fSrb,N'\"k-]*$|[,:b][fSr]*$")


def _anchor(before: str, denied_before: bool) -> str | None:
    """Return what a choice is named as, by the words before it."""
    for anchor, pattern in _ANCHORS.items():
        if pattern.search(before):
            return anchor
    return "is" if denied_before and _IS.match(before) else None


def _kind(anchor: str | None, after: str, group: Group) -> str | None:
    """Return how a clause states the choices; None when it does not."""
    if _IS_RIGHT.match(after):
        return "right"
    if group.boxed:
        return "box"
    if anchor == "so" and _MAKES_RIGHT.match(after):
        return "right"
    if anchor in ("noun", "options", "chooses"):
        ends = group.headed or _ENDS.match(after) is not None
    elif anchor in ("is", "but") and re.match(r"c[.,;]?$", after):
        ends = True  # "A is not the answer. B is."
    else:
        headed = group.headed and after[:1] not in tuple("cIwi")
        ends = headed or _ENDS_HARD.match(after) is not None
    return anchor if ends else None


def _says(words: Sequence[Word], texts: Container[str]) -> bool:
    return any(word.text.lower() in texts for word in words)


def _first_not_in(roles: str, line: Sequence[Word]) -> int:
    """Return the place of the first word with a role not in `roles`, or of the last word."""
    return next((at for at, word in enumerate(line[:-1]) if word.role not in roles), len(line) - 1)


def _turn(words: Sequence[Word]) -> int:
    """Return the place after the last "but"; 0 without any."""
    return max((place for place, word in enumerate(words, 1) if word.role == "r"), default=0)


def _roles(words: Sequence[Word]) -> str:
    return "".join(word.role for word in words)


def _sentences(line: list[Word]) -> Iterator[list[Word]]:
    sentence: list[Word] = []
    for place, word in enumerate(line):
        sentence.append(word)
        if word.role not in ".?!;":
            continue
        following = line[place + 1] if place + 1 < len(line) else None
        between = sentence[-2:-1] + line[place + 1 : place + 2]
        if word.role == ";" and [one.role for one in between] == [LABEL, LABEL]:
            continue  # a list
        if following is not None and word.role == ".":
            if following.start == word.end and following.role not in "'\")":
                continue  # "e.g", "x.y", "..."
            if following.role == "w" and following.text[:1].islower():
                continue
        if following is not None and following.role in "'\")?!.":
            continue
        yield sentence
        sentence = []
    if sentence:
        yield sentence


def _clauses(sentence: list[Word]) -> tuple[list[list[Word]], list[list[Word]]]:
    """Return the clauses of a sentence, and what stands in parentheses."""
    clauses: list[list[Word]] = []
    asides: list[list[Word]] = []
    clause: list[Word] = []
    seen: set[str] = set()  # the roles in it
    aside: list[Word] = []
    depth = 0
    for place, word in enumerate(sentence):
        if word.role == "(" or depth:
            depth += (word.role == "(") - (word.role == ")")
            aside.append(word)
            if depth == 0:
                inside, aside = aside[1:-1], []
                names_only = all(one.role in "L'\"" or joins(one) is not None for one in inside)
                follows = not clause or clause[-1].role in ":=cC" or len(inside) == 1
                if inside and names_only and follows:
                    clause += inside
                elif inside:
                    asides.append(inside)
            continue
        if clause and _begins_clause(sentence, place, clause, seen):
            clauses.append(clause)
            clause, seen = [], set()
        clause.append(word)
        seen.add(word.role)
    if len(aside) > 1:
        asides.append(aside[1:])
    return [*clauses, clause] if clause else clauses, asides


def _begins_clause(sentence: list[Word], place: int, clause: list[Word], seen: set[str]) -> bool:
    word, before = sentence[place], sentence[place - 1]
    text = word.text.lower()
    following = sentence[place + 1 : place + 5]
    if word.role == "S":
        if [before.role, *(one.role for one in following[:1])] == [LABEL, LABEL]:
            return False  # "A → B" concludes nothing
        return before.role not in "cNVSr" or (word.text[0].isalpha() and before.role not in "cSr")
    if word.role == "r":
        after = following[0].role if following else ""
        return text in _HARD_BUTS or (before.role != "c" and after not in "VX")
    if text in _BECAUSE or word.role == "k" or before.role == "z":
        return True
    if text == "leaves" and "n" in seen:
        return True  # "eliminating A and C leaves B"
    if before.role == "," and word.role == "c" and "n" in seen:
        return True  # "it is not A, it is B"
    if before.role in ",—":
        return "k" in seen or _begins_sentence(sentence, place, clause)
    if text in _ANDS and before.role != LABEL:
        return _begins_sentence(sentence, place + 1, clause)
    return False


def _begins_sentence(sentence: list[Word], place: int, clause: list[Word]) -> bool:
    """Return whether a subject with its verb begins at `place`."""
    while place < len(sentence) and (
        sentence[place].role in "fd" or sentence[place].text.lower() in _ANDS
    ):
        place += 1
    ahead = _roles(sentence[place : place + 6])
    if ahead.startswith(LABEL):
        is_list = len(clause) > 1 and clause[-2].role == LABEL
        return not is_list and re.match(r"L[e]*[cI]|L[f]*[XV]", ahead) is not None
    return re.match(r"[iI]|C(?!,)|[NKP][fbwV]{0,3}[c:]|V[NOP][fbw]{0,3}[c:]", ahead) is not None
