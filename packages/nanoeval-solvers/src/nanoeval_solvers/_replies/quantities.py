"""Numbers with units, as people and models write them."""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from typing import Any, NamedTuple

import pint

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+")
_NUMBER = re.compile(
    r"(?P<sign>[-+]?)\s*"
    r"(?:(?P<whole>\d+)\s+(?=[1-9]\d?\s*/\s*[1-9]))?"  # 1 1/2
    r"(?P<digits>\d{1,3}(?:[, ]\d{3})+(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+)"
    r"(?:\s*/\s*(?P<below>\d+(?:\.\d+)?))?"
    r"(?:[eE](?P<e>[-+]?\d{1,3})(?!\w)"
    r"|\s*(?:[x×*·]|\\times|\\cdot)\s*10\s*(?:\^|\*\*)?\s*[{(]?(?P<power>[-+]?\d{1,3})[})]?)?"
)
_BEFORE = re.compile(r"[^\d]*?(?:=|≈|~|is|about|approximately|roughly|:)\s*", re.IGNORECASE)
_MARKUP = re.compile(r"\\(?:text|mathrm|mathbf|,|;|!|:|[()\[\]])|[{}$`]|\*\*|\\boxed")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*(\d[\d.]*)\s*\}\s*\{\s*(\d[\d.]*)\s*\}")
_POWER_OF_TEN = re.compile(r"([-+]?\s*)(?=10\s*(?:\^|\*\*)\s*[{(]?[-+]?\d)")
_THOUSANDS = re.compile(r"(?<=\d)(?:\\,|\{,\}|[\u00a0\u2009\u202f'’])(?=\d{3}(?!\d))")
_LARGE = re.compile(r"\s*(thousand|million|billion|trillion)\b", re.IGNORECASE)
_VULGAR = re.compile("[¼-¾⅐-⅞]")
_DEGREES = re.compile(r"\b(?:degrees?|deg\.?)\s+(celsius|fahrenheit|[CF]\b)", re.IGNORECASE)
_POWERS = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
# Letters, small whole powers, products and quotients: nothing that could be costly to work out.
_UNIT = re.compile(r"[A-Za-zµμΩΩ°Å%′″'\"]+(?:\s*(?:\^|\*\*)?\s*-?\d(?!\d))?")
_UNITS = re.compile(rf"(?:1\s*/\s*)?{_UNIT.pattern}(?:\s*[*·/\s]\s*\(?{_UNIT.pattern}\)?){{0,6}}")


class Quantity(NamedTuple):
    """A number in a unit; `unit` is None for a bare number."""

    value: float
    unit: pint.Unit | None


@functools.cache
def _registry() -> pint.UnitRegistry[Any]:
    return pint.UnitRegistry()


def quantity_of(text: str) -> Quantity | None:
    """The number that `text` is, with its unit; None when it is not just one number."""
    text = _VULGAR.sub(
        lambda one: " " + unicodedata.normalize("NFKC", one[0]).replace("\u2044", "/"), text
    )
    text = _DEGREES.sub(lambda unit: "°" + unit[1][0].upper(), text)
    text = _FRACTION.sub(r" \1/\2 ", _THOUSANDS.sub(",", text)).replace("\\%", "%")
    text = " ".join(_MARKUP.sub(" ", text).split())
    text = unicodedata.normalize("NFC", text).replace("−", "-").rstrip(".")
    before = _BEFORE.match(text)
    if before and len(before[0]) < 40:
        text = text[before.end() :]
    text = _RAISED.sub(lambda raised: "^" + raised[0].translate(_SUPERSCRIPTS), text)
    if power := _POWER_OF_TEN.match(text):
        text = f"{power[0]}1 × {text[power.end() :]}"
    match = _NUMBER.match(text)
    value = None if match is None else _value_of(match)
    if match is None or value is None:
        return None
    end = match.end()
    if large := _LARGE.match(text, end):
        value, end = value * _POWERS[large[1].lower()], large.end()
    rest = text[end:].strip()
    if not math.isfinite(value) or (rest and (unit := _unit_of(rest)) is None):
        return None
    return Quantity(value, unit if rest else None)


def _value_of(match: re.Match[str]) -> float | None:
    """The number that `_NUMBER` found; None when it is none, such as 1/0."""
    value = float(re.sub(r"[, ]", "", match["digits"]))
    if match["below"]:
        below = float(match["below"])
        if below == 0 or (match["whole"] and value >= below):
            return None
        value /= below
    value += float(match["whole"] or 0)
    exponent = match["e"] or match["power"]
    value *= float(f"1e{int(exponent)}") if exponent else 1.0  # infinite, where ** would raise
    return -value if match["sign"] == "-" else value


@functools.lru_cache(maxsize=4096)
def _unit_of(text: str) -> pint.Unit | None:
    if len(text) > 40 or not _UNITS.fullmatch(text):
        return None
    try:
        return _registry().parse_units(text)
    except Exception:  # noqa: BLE001  pint raises its own, tokenize's and AttributeError: no unit
        return None


def same_unit(given: Quantity, wanted: Quantity, *, require_unit: bool) -> float | None:
    """The value of `given` in the unit of `wanted`, or None when that makes no sense."""
    if given.unit == wanted.unit:
        return given.value
    if wanted.unit is None or given.unit is None:
        dimension = wanted.unit or given.unit
        assert dimension is not None  # noqa: S101  one of two different units is there
        if dimension.dimensionless:  # 45 % is 0.45
            return _convert(given, wanted)
        return given.value if given.unit is None and not require_unit else None
    return _convert(given, wanted)


def _convert(given: Quantity, wanted: Quantity) -> float | None:
    registry = _registry()
    none = registry.Unit("")
    try:
        return float(
            registry.Quantity(given.value, given.unit or none).to(wanted.unit or none).magnitude
        )
    except pint.PintError:
        return None
