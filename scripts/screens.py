"""Screenshots for the documents, taken of real runs: python scripts/screens.py

Runs the commands below in a terminal of their own, with folders of their own, and writes what is
on its screen to docs/screens/*.svg.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.style import Style
from rich.text import Text

from tests.cli.terminal import Terminal
from tests.support.script import ROOT

SCREENS = ROOT / "docs" / "screens"
SIZE = (18, 112)
GPQA = str(ROOT / "examples" / "gpqa_simple.py") + ":GPQA"
MOCK = ("solver=MockSolver", "n_consensus=20", "solver.failure_rate=0.01")
# Its three models draw their answers: what is shown is how they are asked and compared.
SWEEP = (
    *("sweep", GPQA, *MOCK, "solver.accuracy=0.4,0.55,0.6", "solver.latency=0.6"),
    *("runner.concurrency=100", "--name", "gpqa"),
)


def style_of(char: object) -> Style:
    """rich's style for a character as the terminal emulator has it."""
    names = {"brown": "yellow", "brightblack": "bright_black", "brightgreen": "bright_green"}
    color = str(getattr(char, "fg", "default"))
    color = names.get(color, color)
    known = f"#{color}" if len(color) == 6 and not color.isalpha() else color
    return Style(
        color=None if known == "default" else known,
        bold=bool(getattr(char, "bold", False)),
        dim=bool(getattr(char, "dim", False)),
    )


def picture(terminal: Terminal, command: str, name: str) -> None:
    """Write the screen, below the command that was typed, as an SVG."""
    screen = terminal.screen
    lines = [Text(f"$ {command}", style="bold")]
    for y in range(screen.lines):
        line = Text(no_wrap=True)
        for x in range(screen.columns):
            char = screen.buffer[y][x]
            line.append(char.data, style_of(char))
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1].plain:
        lines.pop()
    console = Console(record=True, width=screen.columns, file=io.StringIO())
    console.print(Text("\n").join(lines), soft_wrap=True)
    SCREENS.mkdir(parents=True, exist_ok=True)
    console.save_svg(str(SCREENS / f"{name}.svg"), title="nanoeval")
    print(f"docs/screens/{name}.svg")


def shoot(
    folder: Path,
    arguments: tuple[str, ...],
    name: str,
    shown: str,
    until: str | Callable[[str], bool] | None = None,
) -> None:
    """Run a command and take its picture at its end, and before when `until` is on the screen."""
    with Terminal("-m", "nanoeval", *arguments, folder=folder, cwd=folder, size=SIZE) as terminal:
        if until is not None:
            terminal.wait_for(until)
            picture(terminal, shown, f"{name}-running")
        terminal.finish()
        picture(terminal, shown, name)


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        typed = "nanoeval sweep gpqa.py:GPQA solver=MockSolver solver.accuracy=0.4,0.55,0.6 …"
        shoot(folder, SWEEP, "sweep", typed, until=lambda text: text.count("ETA") >= 3)
        shoot(folder, ("ls",), "ls", "nanoeval ls")
        shoot(
            folder, ("samples", "last", "--wrong", "-n", "2"), "samples", "nanoeval samples --wrong"
        )


if __name__ == "__main__":
    main()
