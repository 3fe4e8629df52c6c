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
    r"(?P<digits>\d{1,3}(?:[, ]\d{3})+(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+)"
    r"(?:\s*/\s*(?P<below>\d+(?:\.\d+)?))?"
    r"(?:[eE](?P<e>[-+]?\d{1,3})(?!\w)"
    r"|\s*(?:[x×*·]|\\times|\\cdot)\s*10\s*(?:\^|\*\*)?\s*[{(]?(?P<power>[-+]?\d{1,3})[})]?)?"
)
_BEFORE = re.compile(r"[^\d]*?(?:=|≈|~|is|about|approximately|roughly|:)\s*", re.IGNORECASE)
_MARKUP = re.compile(r"\\(?:text|mathrm|mathbf|,|;|!|:)|[{}$`]|\*\*|\\boxed")
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
    text = _MARKUP.sub(" ", text)
    text = unicodedata.normalize("NFC", text).replace("−", "-").strip().rstrip(".")
    before = _BEFORE.match(text)
    if before and len(before[0]) < 40:
        text = text[before.end() :]
    match = _NUMBER.match(text)
    if match is None:
        return None
    value = float(re.sub(r"[, ]", "", match["digits"]))
    if match["below"]:
        if float(match["below"]) == 0:
            return None
        value /= float(match["below"])
    exponent = match["e"] or match["power"]
    value *= 10.0 ** int(exponent) if exponent else 1.0
    value = -value if match["sign"] == "-" else value
    rest = _RAISED.sub(
        lambda raised: "^" + raised[0].translate(_SUPERSCRIPTS), text[match.end() :]
    ).strip()
    if not math.isfinite(value) or (rest and (unit := _unit_of(rest)) is None):
        return None
    return Quantity(value, unit if rest else None)


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
