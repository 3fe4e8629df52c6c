"""What of a reply is read: its text without thoughts, invisible characters and what a model that
runs on has appended. Pure.

`plain` then removes markup, the same from replies and from the texts of choices, so that both can
be compared.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable

from nanoeval_solvers._replies.letters import listed

BOX, END_BOX = "\ue000", "\ue001"
"""What stands for the braces of `\\boxed{…}` in plain text: characters that are never there."""

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\ue000-\uf8ff\ud800-\udfff\x00-\x08\x0e-\x1f\x7f]"
)

# Names of what models think in. Any bracket, any case: <think>, [THINK], ◁think▷, <seed:think>,
# <|begin_of_thought|>, <|START_THINKING|>, <reasoning_process>.
_THINKING = (
    r"[\w.:-]*(?:think|thought|reason|reflect|scratch_?pad|monologue|analysis|deliberat|rationale|"
    r"chain[_-]of)[\w.:-]*"
)
# Its first character is one of three, so that the search passes over all others at once.
_MARK = re.compile(
    r"[<[◁](?:(?P<close>(?<=<)/\s*(?=[^<>\n]{1,40}>)NAME\s*>|(?<=\[)/\s*NAME\s*\]|(?<=◁)/\s*NAME\s*▷"
    r"|(?<=<)\|\s*(?:/|end|close|stop)NAME\s*\|>|(?<=<)channel\|>)"
    r"|(?P<open>(?<=<)NAME(?:\s[^<>\n]{0,100})?>|(?<=\[)(?:THINK|REASON|THOUGHT)[A-Z]*\]"
    r"|(?<=◁)\s*NAME\s*▷|(?<=<)\|\s*NAME\s*\|>|(?<=<)\|channel>\s*thought))".replace(
        "NAME", _THINKING
    ),
    re.IGNORECASE,
)
_FINAL_CHANNEL = re.compile(
    r"<\|channel\|>\s*final\b[^<]{0,80}<\|message\|>|(?<=[\w.!?])assistantfinal"
)
_CHANNEL = re.compile(r"<\|channel\|>|\Aanalysis(?=[A-Z])")
_SPECIAL = re.compile(r"<\|[^|<>\n]{1,60}\|>|<s>|\[/INST\]")
# What ends a reply: the model goes on as if it were somebody else, or asks itself a new question.
_TURN = re.compile(
    r"<\|im_start\|>|<\|start_header_id\|>|<\|(?:user|endoftext|eot_id|im_end|end_of_text)\|>"
    r"|<start_of_turn>|<end_of_turn>|</s>|<eos>|\[INST\]|^\s*(?:Human|User|###\s*(?:Human|User|Instruction))\s*:",
    re.MULTILINE,
)
_TURN_SIGNS = (
    "<|", "<start_of_turn>", "<end_of_turn>", "</s>", "<eos>", "[INST]", "Human", "User", "###",
)  # fmt: skip
"""One of them is in each such place: far sooner looked for."""
_QUESTION = re.compile(
    r"^[\s#*_>]*(?:(?:next|new|another|following)\s+)?(?:question|problem|exercise|query|pregunta|frage|"
    r"domanda|pergunta|问题|題目|题目|問題|질문|문제|вопрос|q)"
    r"(?:\s*[*_]*\s*[:：](?=[\s*_]*\S)|\s*(?:no\.?\s*|\#\s*)?\d{1,4}\s*[*_]*\s*(?:$|[:.)：]))"
    r"|^\s*\d{1,3}[.)]\s[^\n]{5,300}\n\s*\(?A[.):]\s|^[^\n]{5,1000}[?？] *\n\s*\(?A[.):]\s",
    re.IGNORECASE | re.MULTILINE,
)
_ANSWER_TAG = re.compile(
    r"</?\s*NAME\s*>(?P<wraps>(?=\s*<\s*NAME\s*>))?".replace(
        "NAME", r"(?:final[_ -]?)?(?:answer|choice|solution|response|output)"
    ),
    re.IGNORECASE,
)

_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ"
_RAISED = re.compile(f"[{_SUPERSCRIPTS}]+")
_LOWER = str.maketrans(_SUPERSCRIPTS, "0123456789+-n")
_MIXED = re.compile(r"(?<=[\d.])(?=[¼-¾⅐-⅞])")
_ALIKE = str.maketrans(
    {
        **dict.fromkeys("‐‑‒–−﹣", "-"),
        "—": " — ",
        **dict.fromkeys("‘’‚‛′ʼ´`", "'"),
        **dict.fromkeys("“”„‟«»「」『』″〝〞", '"'),
        "…": "...",
        **dict.fromkeys("。｡．।", ". "),
        "【": "[",
        "】": "]",
        "\u2044": "/",
        "µ": "μ",
        **dict.fromkeys("\r\u2028\u2029\x0b\x0c\x85", "\n"),
        **{chr(0x1F150 + i): chr(65 + i) for i in range(26)},  # 🅐
        **{chr(0x1F170 + i): chr(65 + i) for i in range(26)},  # 🅰
    }
)
_BRACE = re.compile(r"(?P<box>\\(?:boxed|fbox|framebox)\s*\{)|\\[{}]|[{}]")
_FRACTION = re.compile(
    r"(?P<mixed>(?<=[\d.]))?\\[dtc]?frac\s*(?:\{(?P<above>[^{}]{1,60})\}\s*\{(?P<below>[^{}]{1,60})\}"
    r"|(?P<digit>\d)\s*(?P<other>\d))(?P<unit>(?=[^\W\d_]{2}))?"
)
# Braces within it are those of a power; a command right before it ends where it begins.
_WRAPPER = re.compile(
    r"(\\[A-Za-z]+)?\\(?:text|textbf|textit|textrm|textsf|texttt|emph|mathrm|mathbf|mathsf|mathit|"
    r"mathcal|mbox|operatorname|bf|underline|bm|boldsymbol)\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
)
_LATEX_SYMBOLS = {
    "times": "×", "cdot": "·", "pm": "±", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠",
    "neq": "≠", "approx": "≈", "circ": "°", "degree": "°", "infty": "∞", "pi": "π", "mu": "μ",
    "Omega": "Ω", "alpha": "α", "beta": "β", "gamma": "γ", "lambda": "λ", "theta": "θ", "sqrt": "√",
    "to": "→", "rightarrow": "→", "Rightarrow": "⇒", "implies": "⇒", "therefore": "∴",
    "lt": "<", "gt": ">",
    "checkmark": "✓",
}  # fmt: skip
_POWER = re.compile(r"\^\s*\{([^{}\n]{1,40})\}")
_COMMAND = re.compile(r"\\([A-Za-z]+)\s?|\\([,;:!%$#&_ ()\[\]{}|\\])")
_CHECK_BOX = re.compile(r"^([ \t]*[-*+] )\[([ xX])\](?= )", re.MULTILINE)
_STRUCK = re.compile(r"~~[^~\n]{1,400}~~")
_EMPHASIS = re.compile(r"(\*{1,3}|_{1,3})(?=\S)([^\n*_]{1,400}?\*?)(?<=\S)\1(?![\w*_])")
_STRAY = re.compile(r"\*{2,}|(?<![\w*)])\*(?=[\w(])|(?<!\w)_+(?=\w)|(?<=\w)_+(?!\w)|`+|\$+")
_HEADING = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]+|(?:>[ \t]*)+(?=[^\d\s])|[-*_=]{3,}[ \t]*$)", re.MULTILINE
)
_TAG = re.compile(r"</?[A-Za-z][\w:-]{1,30}(?:\s[^<>\n]{0,100})?/?>")
_BLANKS = re.compile(r"[^\S\n]+")


def clean(reply: str) -> str:
    """Return `reply` without thoughts, invisible characters, special tokens, and later turns."""
    text = _INVISIBLE.sub("", reply).replace("\r\n", "\n")
    text = _without_thoughts(text)
    if any(sign in text for sign in _TURN_SIGNS):
        turn = _TURN.search(text, len(text) - len(text.lstrip()) + 1)
        text = text if turn is None else text[: turn.start()]
    return _SPECIAL.sub("\n", text).strip()


def _without_thoughts(text: str) -> str:
    if "<|channel|>" in text or "assistantfinal" in text or text.startswith("analysis"):
        finals = list(_FINAL_CHANNEL.finditer(text))
        if finals:
            text = text[finals[-1].end() :]
        elif _CHANNEL.search(text):
            return ""  # all in channels that are not for the reader
    kept: list[str] = []
    start, thinking = 0, False
    for mark in _MARK.finditer(text):
        if mark["close"] and not thinking:
            kept = []  # the opening mark was part of the prompt
        elif not thinking:
            kept.append(text[start : mark.start()])
        thinking = mark["open"] is not None
        start = mark.end()
    if not thinking:
        kept.append(text[start:])
    return "\n".join(kept)


def before_next_question(text: str, is_ours: Callable[[str], bool]) -> str:
    """Return `text` up to where a model asks itself another question.

    Args:
        text: a clean reply.
        is_ours: a function that says whether a text restates the question that was asked.
    """
    heads = [head.start() for head in _QUESTION.finditer(text) if head.start()]
    for head, following in itertools.pairwise([*heads, len(text)]):
        if not is_ours(text[head:following]):
            return text[:head]
    return text


def characters(text: str) -> str:
    """Return `text` in one spelling of each character: NFKC, but powers stay powers."""
    text = _RAISED.sub(lambda raised: "^" + raised[0].translate(_LOWER), text)
    text = _MIXED.sub(" ", text)
    return unicodedata.normalize("NFKC", text.translate(_ALIKE)).translate(_ALIKE)


def plain(text: str) -> str:
    """Return `text` without markup; the contents of boxes stand between `BOX` and `END_BOX`."""
    text = characters(text)
    text = _ANSWER_TAG.sub(
        lambda tag: "\n" if tag[0][1] == "/" or tag["wraps"] == "" else "\nAnswer: ", text
    )
    text = without_latex(text)
    text = _CHECK_BOX.sub(lambda box: box[1] + ("✗" if box[2] == " " else "✓"), text)
    text = _STRUCK.sub(" ", _HEADING.sub("", text))
    for _ in range(3):
        text = _EMPHASIS.sub(r"\2", text)
    text = _STRAY.sub("", text)
    if "<" in text:
        text = _TAG.sub(" ", text)
    return _BLANKS.sub(" ", text)


def without_latex(text: str) -> str:
    """Return `text` with LaTeX's commands as the signs they are, where there are such."""
    if "\\" in text:
        text = _mark_boxes(text)
        for _ in range(4):  # wrappers in wrappers
            text = _WRAPPER.sub(lambda w: f"{w[1]} {w[2]}" if w[1] else w[2], text)
            text = _FRACTION.sub(_fraction, text)
        text = _COMMAND.sub(_command, text).replace("{,}", ",")
    return _POWER.sub(r"^\1", text).replace("^°", "°")


def _fraction(found: re.Match[str]) -> str:
    """Return a fraction in one line, apart from the whole before it and a unit after it."""
    before, after = (" " if found[name] is not None else "" for name in ("mixed", "unit"))
    above, below = found["above"] or found["digit"], found["below"] or found["other"]
    return f"{before}{above}/{below}{after}"


def _command(command: re.Match[str]) -> str:
    if command[1]:
        return _LATEX_SYMBOLS.get(command[1], " " if command[1] in _DROPPED else command[0])
    return command[2] if command[2] in "%$#&_{}|" else " "


_DROPPED = listed(
    """
    rm bf it sf tt left right big Big bigl bigr quad qquad displaystyle textstyle hspace vspace
    """
)


def boxes(text: str) -> list[tuple[re.Match[str], re.Match[str] | None]]:
    """Return the braces around each box, by their ends; None for the end of one that has none."""
    found: list[tuple[re.Match[str], re.Match[str] | None]] = []
    opened: list[re.Match[str]] = []
    for brace in _BRACE.finditer(text):
        if brace["box"] or brace[0] == "{":
            opened.append(brace)
        elif brace[0] == "}" and opened and (start := opened.pop())["box"]:
            found.append((start, brace))
    return found + [(start, None) for start in opened if start["box"]]


def _mark_boxes(text: str) -> str:
    """Return `text` with `BOX` and `END_BOX` for braces of boxes; one without end holds "?"."""
    marks: list[tuple[int, int, str]] = []
    for start, end in boxes(text):
        if end is None:
            marks.append((start.start(), len(text), f"{BOX}?{END_BOX}"))
        else:
            marks += [(*start.span(), BOX), (*end.span(), END_BOX)]
    parts: list[str] = []
    at = 0
    for begin, close, mark in sorted(marks):
        if begin >= at:  # not in a box that was cut off
            parts += [text[at:begin], mark]
            at = close
    return "".join([*parts, text[at:]])
