"""What calls cost, by a table that the user supplies. There are no prices in this package."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nanoeval_core.errors import ConfigError
from nanoeval_core.usage import Usage

__all__ = ["Price", "PriceTable", "price_of"]

PriceTable = Mapping[str, Mapping[str, float]]
"""Model name → prices per million tokens: `prompt` and `completion`, and optionally `cached` (by
default as `prompt`) and `reasoning` (by default as `completion`), in any unit."""

_MILLION = 1_000_000
_FIELDS = ("prompt", "completion", "cached", "reasoning")


class Price(NamedTuple):
    """Prices per million tokens, in any unit."""

    prompt: float
    completion: float
    cached: float
    reasoning: float

    def cost(self, usage: Usage) -> float:
        """Return what `usage` costs: prompt tokens include the cached ones, completion tokens the
        reasoning ones."""
        return (
            (usage.prompt_tokens - usage.cached_tokens) * self.prompt
            + usage.cached_tokens * self.cached
            + (usage.completion_tokens - usage.reasoning_tokens) * self.completion
            + usage.reasoning_tokens * self.reasoning
        ) / _MILLION


def price_of(model: str, table: PriceTable | str) -> Price:
    """Return the price of `model` in a table, or in the JSON or TOML file that holds one.

    Raises:
        ConfigError: the file cannot be read, or the table has no usable entry for the model.
    """
    prices: Any = _read(Path(table)) if isinstance(table, str) else table
    if not isinstance(prices, Mapping) or model not in prices:
        known = ", ".join(sorted(map(str, prices))) if isinstance(prices, Mapping) else "nothing"
        raise ConfigError(f"prices has no entry for model {model!r}: it has {known}")
    entry = prices[model]
    where = f"prices[{model!r}]"
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where} must be a table of {', '.join(_FIELDS)}, got {entry!r}")
    for name, value in entry.items():
        if name not in _FIELDS:
            raise ConfigError(f"{where} has {name!r}, which is none of {', '.join(_FIELDS)}")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            raise ConfigError(f"{where}[{name!r}]={value!r}: give a number, 0 or more")
    for name in ("prompt", "completion"):
        if name not in entry:
            raise ConfigError(f"{where} lacks {name!r}: give the price per million tokens")
    return Price(
        prompt=entry["prompt"],
        completion=entry["completion"],
        cached=entry.get("cached", entry["prompt"]),
        reasoning=entry.get("reasoning", entry["completion"]),
    )


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"prices: {path} cannot be read as JSON (or TOML, by its suffix): {error}"
        ) from error
