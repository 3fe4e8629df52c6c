"""Eval a series of checkpoints: those in a folder, and those that a training run adds to it.

python -m examples.eval_checkpoints folder=checkpoints how.mock=True
python -m examples.eval_checkpoints folder=checkpoints watch=False    those there are, and no more

A checkpoint is evaluated once: `scores.csv` in the folder says which were. Stop it with Ctrl-C
and start it again whenever you like; a checkpoint that was under way goes on where it stopped.
Training writes a checkpoint under another name and renames it when it is whole.
"""

import asyncio
import csv
from collections.abc import AsyncIterator
from pathlib import Path

from nanoeval.setup import nanoeval_entrypoint

from examples.eval_checkpoint import Checkpoints, existing

COLUMNS = ("checkpoint", "accuracy", "stderr", "run_id")
POLL_SECONDS = 2.0  # of a folder: many file systems of clusters tell nobody of changes


class Scores:
    """The table of what was measured, in a file that a spreadsheet opens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: set[str] = set()
        if path.exists():
            with path.open(newline="") as file:
                self.known = {row["checkpoint"] for row in csv.DictReader(file)}

    def add(self, checkpoint: str, summary: dict[str, object]) -> None:
        is_new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(COLUMNS)
            numbers = [summary["accuracy"], summary.get("accuracy_stderr", "")]
            writer.writerow([checkpoint, *numbers, summary["run_id"]])
        self.known.add(checkpoint)


async def arrivals(folder: Path, pattern: str, known: set[str], watch: bool) -> AsyncIterator[Path]:
    """The checkpoints that are not `known`, oldest first; those to come too, if `watch`."""
    while True:
        files = await asyncio.to_thread(lambda: sorted(folder.glob(pattern), key=_age))
        fresh = [file for file in files if file.name not in known]
        for file in fresh:
            yield file
        if not fresh:
            if not watch:
                return
            await asyncio.sleep(POLL_SECONDS)


def _age(file: Path) -> float:
    return file.stat().st_mtime


async def main(folder: str, how: Checkpoints, pattern: str = "*.gguf", watch: bool = True) -> None:
    path = existing(folder)
    scores = Scores(path / "scores.csv")
    if watch:
        print(f"Watching {path} for {pattern}; Ctrl-C stops.", flush=True)
    async for checkpoint in arrivals(path, pattern, scores.known, watch):
        summary = await how.evaluate(checkpoint)
        scores.add(checkpoint.name, summary)
        print(f"{checkpoint.name}: {summary['accuracy']:.3f}", flush=True)


if __name__ == "__main__":
    nanoeval_entrypoint(main)
