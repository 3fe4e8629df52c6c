"""Numbers with units, as people and models write them."""

from __future__ import annotations

import functools
import re
from fractions import Fraction
from typing import Any, NamedTuple

import pint

from nanoeval_solvers._replies.cleaning import BOX, END_BOX, characters, without_latex

_DIGITS = r"(?:\d{1,3}(?:[, ]\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+)"
_NUMBER = re.compile(
    r"(?P<sign>[-+]?)\s*(?:10\s*(?:\^|\*\*)\s*\(?(?P<alone>[-+]?\d{1,3})\)?|"
    r"(?:(?P<whole>\d+)\s+(?=[1-9]\d?\s*/\s*[1-9]))?"  # 1 1/2
    rf"(?P<digits>{_DIGITS})(?:\s*/\s*(?P<below>\d+(?:\.\d+)?))?"
    r"(?:[eE](?P<e>[-+]?\d{1,3})(?!\w)|\s*(?:[x×*·]\s*)10\s*(?:\^|\*\*)\s*\(?(?P<power>[-+]?\d{1,3})\)?"
    rf"|\s*[x×*·]\s*(?P<times>{_DIGITS})(?![\d^*]))?)"
)
# What may lead up to a number, as the last word before it; and what says that it is no such number.
_LEADS = re.compile(
    r"(?:=|≈|~|:|\b(?:is|are|was|were|be|equals|about|around|approximately|approx\.?|roughly|exactly|of|"
    r"answer|gives?|nearly|almost|total|i\.e\.|ist|est|es|é|è|circa|ca\.?))\s*$",
    re.IGNORECASE,
)
_BOUNDS = re.compile(
    r"[<>≤≥≠!±∈]|\b(?:not|never|isn't|less|more|fewer|greater|least|most|between|from|under|over|above|"
    r"below|up to|either|if|minus)\b|n't",
    re.IGNORECASE,
)
_THOUSANDS = re.compile(r"(?<=\d)(?:\\,|\{,\}|[\u00a0\u2009\u202f'’])(?=\d{3}(?!\d))")
_MINUS_OF_MINUS = re.compile(r"(?<![\d)}])(?<![\d)}]\s)-\s*(\\[dtc]?frac\s*\{)\s*-")
_LARGE = re.compile(
    r"\s*(?:(hundred|thousand|million|billion|trillion|dozen)s?\b|(?<=\d)(k)\b)", re.IGNORECASE
)
_FACTORS = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "dozen": 12, "k": 10**3,
}  # fmt: skip
_PERCENT = re.compile(r"\s*(?:percent|per cent|pct\.?|\\%)(?!\w)", re.IGNORECASE)
_DEGREES = re.compile(
    r"(?<![A-Za-z])(?:degrees?|deg\.?)\s+(celsius|fahrenheit|[CF]\b)", re.IGNORECASE
)
# Letters, small whole powers, products and quotients: nothing that could be costly to work out.
_UNIT = re.compile(r"[A-Za-zµμΩΩ°Å%′″'\"]+(?:\s*(?:\^|\*\*)?\s*-?\d(?!\d))?")
_UNITS = re.compile(rf"(?:1\s*/\s*)?{_UNIT.pattern}(?:\s*[*·/\s]\s*\(?{_UNIT.pattern}\)?){{0,6}}")
_WORDS = re.compile(r"[^\W\d_]+(?:[ -][^\W\d_]+){0,3}")
_NO_UNIT = re.compile(
    r"\b(?:or|and|to|plus|minus|times|out|hundred|if|not|but|squared|cubed|dozens?|pairs?|"
    r"is|are|was|were|isn't|would|could|should|does|seems?|looks?|too|more|less|fewer|than|[α-ω])\b",
    re.IGNORECASE,
)
_UNIT_LETTERS = "mgsklhd"  # that follow a number directly as a unit
_MOST = 400  # the largest power of ten that is worked out


class Quantity(NamedTuple):
    """A number in a unit; `unit` is None for a bare number, or one of "eggs"."""

    value: Fraction
    unit: pint.Unit | None
    is_whole: bool = False  # written without a decimal point
    counted: str = ""  # what is counted, where that is no unit


@functools.cache
def _registry() -> pint.UnitRegistry[Any]:
    return pint.UnitRegistry()


def quantity_of(text: str) -> Quantity | None:
    """Return the number that `text` is, with its unit; None unless it is one number."""
    text = _plain(text)
    found = _NUMBER.search(text)
    if found is None:
        return None
    before = text[: found.start()].rstrip("€£¥₹$ ")
    if _BOUNDS.search(before) or (before and not _LEADS.search(before)) or len(before) > 80:
        return None
    value, end = _value_of(found), found.end()
    if value is None:
        return None
    is_whole = "." not in found[0] and not (found["below"] or found["alone"])
    if large := _LARGE.match(text, end):
        value, end = value * _FACTORS[(large[1] or large[2]).lower()], large.end()
    if re.match(r"(?:st|nd|rd|th|[a-z])(?!\w)", text[end:]) and text[end] not in _UNIT_LETTERS:
        return None  # "5th", "5a"
    rest = _PERCENT.sub(" %", text[end:]).strip().strip("€£¥₹$").strip()
    if not rest:
        return Quantity(value, None, is_whole)
    unit = _unit_of(rest)
    if unit is None and text[end : end + 1].isalpha():
        return None
    if unit is None and (not _WORDS.fullmatch(rest) or _NO_UNIT.search(rest)):
        return None
    return Quantity(value, unit, is_whole, "" if unit is not None else rest)


def _plain(text: str) -> str:
    """Return `text` without markup and outer punctuation; points, intervals, sets stay such."""
    text = _MINUS_OF_MINUS.sub(r"\1", _THOUSANDS.sub(",", text))
    if "\\" in text:
        text += "}" * (text.count("{") - text.count("}"))  # of a box without its end
    text = characters(without_latex(text))
    text = _DEGREES.sub(lambda unit: "°" + unit[1][0].upper(), text)
    text = re.sub(rf"\*\*(?!\s*[-+]?\d)|[`{BOX}{END_BOX}]", " ", text)
    before = ""
    while before != text:
        before = text
        text = text.strip().strip("\"'“”*").strip().rstrip(".,;:!?…").strip()
        outer = re.fullmatch(
            r"\(([^()]*)\)|\[([^\[\]]*)\]|\{([^{}]*)\}|\$([^$]*)\$|\$\$([^$]*)\$\$", text
        )
        if outer is not None and not (outer.lastindex in (1, 2, 3) and "," in outer[0]):
            text = outer[outer.lastindex or 0]
    if re.fullmatch(r"\\?[(\[{].*,.*[)\]}]", text):
        return ""
    return " ".join(text.replace("{", " ").replace("}", " ").split())


def _value_of(number: re.Match[str]) -> Fraction | None:
    """Return the number that `_NUMBER` found; None for 1/0, and where it is too large to record."""
    value = _exact(number["digits"] or "1")
    if number["below"]:
        below = _exact(number["below"])
        if below == 0 or (number["whole"] and value >= below):
            return None
        value /= below
    value += int(number["whole"] or 0)
    if number["times"]:
        value *= _exact(number["times"])
    exponent = int(number["e"] or number["power"] or number["alone"] or 0)
    if abs(exponent) > _MOST:
        return None
    value *= Fraction(10) ** exponent
    if abs(value) > Fraction(10) ** 308:
        return None
    return -value if number["sign"] == "-" else value


def _exact(digits: str) -> Fraction:
    plain = re.sub(r"[, ]", "", digits).rstrip(".")
    return Fraction(plain if len(plain) < _MOST else plain[:_MOST])


@functools.lru_cache(maxsize=4096)
def _unit_of(text: str) -> pint.Unit | None:
    if len(text) > 40 or not _UNITS.fullmatch(text):
        return None
    try:
        return _registry().parse_units(text)
    except Exception:  # noqa: BLE001  pint raises its own, tokenize's and AttributeError: no unit
        return None


def is_close(
    given: Quantity,
    wanted: Quantity,
    *,
    relative: float | None,
    absolute: float,
    require_unit: bool,
) -> bool:
    """Return whether `given` is `wanted` within a tolerance, in a unit of the same kind.

    Args:
        given: the answer.
        wanted: the reference.
        relative: of the reference; None is 0 for whole references and 0.01 for others.
        absolute: in the unit of the reference.
        require_unit: an answer without a unit is wrong where the reference has one.
    """
    if relative is None:
        relative = 0.0 if wanted.is_whole else 0.01
    tolerance = max(Fraction(absolute), Fraction(relative) * abs(wanted.value))
    for value in _in_unit_of(wanted, given, require_unit=require_unit):
        exact = isinstance(value, Fraction)
        scale = max(abs(wanted.value), Fraction(1))
        slack = Fraction(0) if exact and not tolerance else scale / 10**9
        if abs(Fraction(value) - wanted.value) <= tolerance + slack:
            return True
    return False


def _in_unit_of(wanted: Quantity, given: Quantity, *, require_unit: bool) -> list[Fraction | float]:
    """Return what `given` can be in the unit of `wanted`."""
    if wanted.unit is None:
        # The reference is a bare number: the answer may say of what. 45 % is 45, and 0.45.
        values: list[Fraction | float] = [given.value]
        if given.unit is not None and given.unit == _unit_of("%"):
            values.append(given.value / 100)
        return values
    if given.counted:
        return []
    if given.unit is None and not wanted.unit.dimensionless:
        return [] if require_unit else [given.value]
    if given.unit == wanted.unit:
        return [given.value]
    registry = _registry()
    unit = registry.Unit("") if given.unit is None else given.unit
    try:
        return [float(registry.Quantity(float(given.value), unit).to(wanted.unit).magnitude)]
    except pint.PintError:
        return []
