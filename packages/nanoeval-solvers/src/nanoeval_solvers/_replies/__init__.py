"""How replies are read."""

from __future__ import annotations

from typing import Literal

ReadBy = Literal["structured", "answer_line", "boxed", "bare", "prose"]
"""What an answer was read from: JSON, a line such as "Answer: C", a `\\boxed{C}`, a reply that is
nothing but the answer, or prose."""
