"""What is shown of one eval: numbers, and the texts made of them."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, deque
from typing import Any

from nanoeval_core.metrics.headline import headline

from nanoeval_runner.formats import (
    format_count,
    format_rate,
    format_score,
    format_seconds,
)

RATE_WINDOW = 20.0
"""Seconds over which the rate is measured."""
STANDSTILL_SECONDS = 5.0
"""Seconds without a finished task after which the display says why; it draws at least as often."""
LONG_SECONDS = 30.0


@dataclasses.dataclass(slots=True)
class EvalView:
    """One eval of the display.

    Attributes:
        state: `running`, `summing up`, `done`, `stopped` or `failed`.
        score: `accuracy` and `accuracy_stderr`, or whatever else a summary holds.
        postfix: what `Eval.update_progress` asked to show.
        errors: how many tasks each error cost, in its own words.
        gauges: what executors publish: numbers such as an endpoint's limit in force, and texts that
            say why nothing moves.
        longest: the tasks that have been running longest, with their seconds.
        doing: what the run does while no task can run.
    """

    eval_name: str
    model: str | None = None
    state: str = "running"
    done: int = 0
    total: int = 0
    in_flight: int = 0
    limit: int | None = None
    retries: int = 0
    tokens: int = 0
    cost: float = 0.0
    elapsed: float = 0.0
    score: dict[str, Any] | None = None
    errors: Counter[str] = dataclasses.field(default_factory=Counter)
    postfix: dict[str, str] = dataclasses.field(default_factory=dict)
    gauges: dict[str, float | str] = dataclasses.field(default_factory=dict)
    longest: list[tuple[str, float]] = dataclasses.field(default_factory=list)
    doing: str = ""
    _moved_at: float = dataclasses.field(default_factory=time.monotonic)
    _marks: deque[tuple[float, int]] = dataclasses.field(default_factory=deque)

    def mark(self) -> None:
        """Note how far it is, for the rate and for when it last moved."""
        now = time.monotonic()
        if not self._marks:
            self._marks.append((self._moved_at, 0))
        if self._marks[-1][1] != self.done:
            self._moved_at = now
        self._marks.append((now, self.done))
        while len(self._marks) > 2 and self._marks[1][0] < now - RATE_WINDOW:
            self._marks.popleft()

    @property
    def rate(self) -> float | None:
        """Tasks finished per second, lately."""
        if not self._marks:
            return None
        (start, before), (end, after) = self._marks[0], self._marks[-1]
        return (after - before) / (end - start) if end > start else None

    @property
    def share(self) -> float:
        return self.done / self.total if self.total else 0.0

    @property
    def name(self) -> str:
        return f"{self.eval_name} · {self.model}" if self.model else self.eval_name

    # --- texts

    def counts(self) -> str:
        return f"{self.done:,}/{self.total:,}"

    def pace(self) -> list[str]:
        """Return rate and time left, each where it is known."""
        if self.state == "summing up":
            return [self.state]
        if self.state != "running":
            return [f"{self.state} in {format_seconds(self.elapsed)}"]
        found = []
        rate = self.rate
        if rate:
            found.append(format_rate(rate))
        if rate and self.done < self.total:
            found.append(f"ETA {format_seconds((self.total - self.done) / rate)}")
        return found

    def details(self) -> list[str]:
        """Return everything else, each part only where there is something to say."""
        score = headline(self.score) if self.score else None
        found = [f"{score.name} {format_score(score.value, score.stderr)}"] if score else []
        # What an eval's update_progress adds, unless the score says it ("acc" and "accuracy").
        shown = list(self.score or {})
        found += [
            f"{name} {value}"
            for name, value in self.postfix.items()
            if value != "nan" and not any(one.startswith(name) for one in shown)
        ]
        if self.state == "running":
            limit = "" if self.limit is None else f" of {self.limit:,}"
            found.append(f"{self.in_flight:,}{limit} in flight")
            found += [
                f"{name.replace('_', ' ')} {value:g}"
                for name, value in sorted(self.gauges.items())
                if not isinstance(value, str)
            ]
            if self.longest and self.longest[0][1] >= LONG_SECONDS:
                name, seconds = self.longest[0]
                found.append(f"longest running {name}, {format_seconds(seconds)}")
        if self.retries:
            found.append(f"{self.retries:,} retries" if self.retries > 1 else "1 retry")
        if self.errors:
            by_type: Counter[str] = Counter()
            for words, number in self.errors.items():
                by_type[words.partition(":")[0]] += number
            total = self.errors.total()
            kinds = ", ".join(f"{kind} {number}" for kind, number in by_type.most_common(3))
            found.append(f"{total:,} error{'s' * (total > 1)} ({kinds})")
        if self.tokens:
            found.append(f"{format_count(self.tokens)} tokens")
        if self.cost:
            found.append(f"cost {self.cost:.4g}")
        return found

    def standstill(self) -> str:
        """Return why nothing has moved for `STANDSTILL_SECONDS`, if that is known; else empty."""
        stood = time.monotonic() - self._moved_at
        is_over = self.state != "running" or self.done >= self.total > 0
        if is_over or stood < STANDSTILL_SECONDS:
            return ""
        reasons = [self.doing] if self.doing else []
        reasons += [value for value in self.gauges.values() if isinstance(value, str) and value]
        if not reasons and self.longest:
            name, seconds = self.longest[0]
            reasons = [f"{self.in_flight:,} in flight, {name} for {format_seconds(seconds)}"]
        return f"nothing finished for {format_seconds(stood)}: {'; '.join(reasons)}" * bool(reasons)

    def line(self) -> str:
        """Return all of it in one line, as a log shows it."""
        percent = f"{int(100 * self.share)} %"  # not 100 before the last one
        parts = [f"{self.counts()} ({percent})", *self.pace(), *self.details()]
        return f"{self.name}: {', '.join(parts)}"
