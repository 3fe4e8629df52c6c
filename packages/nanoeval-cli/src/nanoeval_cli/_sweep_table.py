"""The table of a sweep: evals × choices, for a terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

from nanoeval_core.metrics.headline import headline
from nanoeval_runner.formats import format_count, format_score
from nanoeval_runner.text_table import format_table, text_width

from nanoeval_cli._sweep import Cell

SCORE_COLUMNS = ("metric", "score", "stderr", "ci95_low", "ci95_high")
OTHER_COLUMNS = ("num_tasks", "is_valid", "tokens", "cost", "run_id", "error")
CSV_COLUMNS = ("eval", "choice", "arguments", *SCORE_COLUMNS, *OTHER_COLUMNS)


class SweepTable:
    """Rows are evals and columns are choices, both in the order in which they were asked for."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._cells = cells
        self._evals = list(dict.fromkeys(cell.eval for cell in cells))
        self._labels = list(dict.fromkeys(cell.label for cell in cells))
        self._header = ["eval", *(label or "score" for label in self._labels)]
        self._places = {(c.eval, c.label): (c, headline(c.summary or {})) for c in cells}

    def rows(self, emphasize: Callable[[str], str], *, intervals: bool = False) -> list[list[str]]:
        """Return the cells as texts, each row's best emphasized, then rows of tokens and cost."""
        rows = [
            [name, *(self._text(name, label, emphasize, intervals) for label in self._labels)]
            for name in self._evals
        ]
        columns = [[c.usage for c in self._cells if c.label == label] for label in self._labels]
        tokens = [sum(usage.total_tokens for usage in column) for column in columns]
        costs = [sum(usage.cost for usage in column) for column in columns]
        if any(tokens):
            rows.append(["tokens", *(format_count(n) if n else "" for n in tokens)])
        if any(costs):
            rows.append(["cost", *(f"{cost:.4g}" if cost else "" for cost in costs)])
        return rows

    def text(self, emphasize: Callable[[str], str], width: int | None = None) -> list[str]:
        """Return the lines of the table for a terminal of so many columns; None for any number."""
        rows = self.rows(emphasize)
        lines = format_table(self._header, rows, right=frozenset(self._header[1:]))
        if width is None or max(map(text_width, lines)) <= width:
            return lines
        # Wider than the screen: it is turned, choices are rows.
        turned = [list(row) for row in zip(self._header, *rows, strict=True)]
        turned[0][0] = "choice"
        right = frozenset(turned[0][1:])
        return format_table(turned[0], turned[1:], right=right, width=width)

    def markdown(self) -> str:
        rule = ["---", *("---:" for _ in self._labels)]
        rows = [self._header, rule, *self.rows(lambda text: f"**{text}**", intervals=True)]
        lines = ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in rows]
        return "\n".join(lines) + "\n\nScores with their standard errors and 95 % intervals.\n"

    def write_csv(self, path: Path) -> None:
        """Write one line per cell, with everything that is known of it."""
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(CSV_COLUMNS)
            for cell in self._cells:
                summary = cell.summary or {}
                row: list[object] = [cell.eval, cell.label, " ".join(cell.arguments)]
                row += headline(summary) or [None] * len(SCORE_COLUMNS)
                row += [summary.get("num_tasks"), summary.get("is_valid")]
                row += [cell.usage.total_tokens or None, cell.usage.cost or None]
                writer.writerow([*row, summary.get("run_id"), cell.error.partition("\n")[0]])

    def _text(self, name: str, label: str, emphasize: Callable[[str], str], intervals: bool) -> str:
        cell, found = self._places.get((name, label), (None, None))
        if cell is None:
            return ""
        if found is None:
            return "stopped" if cell.over_budget else "failed" if cell.error else "no score"
        text = format_score(found.value, found.stderr)
        if intervals and found.low is not None and found.high is not None:
            text += f" ({format_score(found.low)} – {format_score(found.high)})"
        values = [s.value for c, s in self._places.values() if c.eval == name and s is not None]
        is_best = len(values) > 1 and found.value == max(values)
        return emphasize(text) if is_best else text
