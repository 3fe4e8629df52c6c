"""A series: evals × arguments, each cell run once however often the series is."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import itertools
import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import chz
from nanoeval_core.errors import BudgetExceeded, ConfigError
from nanoeval_core.spec import EvalSpec
from nanoeval_core.usage import Usage
from nanoeval_runner import run
from nanoeval_runner.setup import describe
from nanoeval_runner.state_files import backups, read_state_file, state_file
from nanoeval_runner.stored_eval import describe_arguments, model_in

from nanoeval_cli._output import writing
from nanoeval_cli._targets import EvalClass, arguments_of, find_eval_class, make_spec


@dataclasses.dataclass(slots=True)
class Cell:
    """One eval with one choice of arguments.

    Attributes:
        eval: its name, the row of the table.
        label: what distinguishes it from the others of its row: the column.
        key: names the cell by what determines its result.
        summary: its result, once there is one.
        problem: why it is missing.
        run_set_id: where it was begun.
    """

    eval: str
    label: str
    arguments: list[str]
    spec: EvalSpec
    key: str
    summary: dict[str, Any] | None = None
    problem: Exception | None = None
    run_set_id: str | None = None

    @property
    def usage(self) -> Usage:
        known = (self.summary or {}).get("usage") or {}
        names = known.keys() & {field.name for field in dataclasses.fields(Usage)}
        return Usage(**{name: known[name] for name in names})

    @property
    def over_budget(self) -> bool:
        return isinstance(self.problem, BudgetExceeded)

    @property
    def error(self) -> str:
        if self.problem is None:
            return ""
        return str(self.problem) if self.over_budget else describe(self.problem)


_VALUE_TOKEN = re.compile(r"""\\.|'(?:\\.|[^'\\])*'?|"(?:\\.|[^"\\])*"?|.""", re.DOTALL)


def split_values(text: str) -> list[str]:
    r"""Return the values of `a,b,c`. Commas in brackets or quotes, and `\,`, do not separate."""
    parts, depth = [""], 0
    for token in _VALUE_TOKEN.findall(text):
        depth += (token in "([{") - (token in ")]}")
        if token == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += token
    return [re.sub(r"(\\\\)|\\(?=,)", r"\1", part) for part in parts]


def make_cells(targets: Sequence[str], given: Mapping[str, str]) -> list[Cell]:
    """Make the cells of `targets` × the values in `given`, in the order of the arguments.

    An argument that only some of the evals have is theirs alone.

    Raises:
        ConfigError: an argument is refused by an eval, no eval has it, or two cells are equal.
    """
    if "runner.run_set_id" in given:
        raise ConfigError(
            f"runner.run_set_id={given['runner.run_set_id']}: a sweep names its run sets itself; "
            "--name names it"
        )
    axes = {name: split_values(value) for name, value in given.items()}
    varying = [name for name, values in axes.items() if len(values) > 1]
    classes = {target: find_eval_class(target) for target in targets}
    first = {name: values[0] for name, values in axes.items()}
    taken = {target: _taken_by(one, first) for target, one in classes.items()}
    unknown = axes.keys() - set().union(*taken.values())
    cells: list[Cell] = []
    for target, eval_class in classes.items():
        own = {n: values for n, values in axes.items() if n in taken[target] | unknown}
        choices = itertools.product(*([(n, v) for v in values] for n, values in own.items()))
        cells += [_cell(eval_class, dict(chosen), varying) for chosen in choices]
    places = Counter((cell.eval, cell.label) for cell in cells)
    seen: set[str] = set()
    for cell in cells:
        if places[cell.eval, cell.label] > 1:  # evals of one name: their classes tell them apart
            cell.eval = f"{cell.eval} ({type(cell.spec.eval).__name__})"
        if cell.key in seen:
            raise ConfigError(
                f"{cell.eval} with {cell.label or 'these arguments'} is in this sweep twice: "
                "give each value once"
            )
        seen.add(cell.key)
    return cells


def _taken_by(eval_class: EvalClass, given: Mapping[str, str]) -> set[str]:
    """Return those of the arguments `given` that the eval has, whatever their values are."""
    known = arguments_of(eval_class, given)
    return {
        name for name in given if known.knows(name) or (name == "model" and known.knows("solver"))
    }


def _cell(eval_class: EvalClass, chosen: Mapping[str, str], varying: Sequence[str]) -> Cell:
    spec = make_spec(eval_class, chosen)
    named = [(name, value) for name, value in chosen.items() if name in varying]
    only_models = len(varying) == 1 and varying[0].rpartition(".")[2] == "model"
    label = ", ".join(v if only_models else f"{n.rpartition('.')[2]}={v}" for n, v in named)
    if label and spec.runner.model_name is None:
        model = model_in(describe_arguments(spec.eval))
        says_model = any(name.rpartition(".")[2] in ("model", "solver") for name, _ in named)
        name = label if model is None or says_model else f"{model}, {label}"
        spec = chz.replace(spec, runner=chz.replace(spec.runner, model_name=name))
    arguments = [f"{name}={value}" for name, value in chosen.items()]
    runner = [f"{name}={value}" for name, value in named if name.startswith("runner.")]
    determines = "\n".join([describe_arguments(spec.eval), str(spec.runner.n_tasks), *runner])
    key = hashlib.sha256(determines.encode()).hexdigest()[:16]
    return Cell(spec.eval.get_name(), label, arguments, spec, key)


class Ledger:
    """What became of each cell, in a file: what makes a repeated sweep cheap.

    Args:
        folder: of the sweep; made when it is written to first.
        name: of the sweep.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self._path = folder / "sweep.json"
        self._name = name
        self._cells: dict[str, dict[str, Any]] = {}
        if self._path.exists():
            try:
                self._cells = json.loads(self._path.read_text("utf-8"))["cells"]
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(
                    f"{self._path} is damaged ({error}): remove it to run the whole sweep"
                ) from error

    def recall(self, cell: Cell) -> None:
        """Give a cell its summary, if it finished before, and the run set in which it was begun."""
        known = self._cells.get(cell.key, {})
        cell.run_set_id = known.get("run_set_id")
        cell.summary = known.get("summary") if known.get("state") == "done" else None

    def note(self, cell: Cell, **facts: Any) -> None:
        """Note something about a cell; the file is replaced as a whole."""
        known = self._cells.setdefault(cell.key, {})
        known |= {"eval": cell.eval, "label": cell.label, "arguments": cell.arguments, **facts}
        aside = self._path.with_suffix(f".{os.getpid()}")
        text = json.dumps({"name": self._name, "cells": self._cells}, indent=2, default=str)
        with self.writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            aside.write_text(text + "\n", "utf-8")
            os.replace(aside, self._path)

    def writing(self) -> AbstractContextManager[None]:
        """Name the sweep's folder in what goes wrong with writing to it."""
        return writing(
            f"the sweep's folder {self.folder} cannot be written",
            "make room or make it writable, or name another with -o. Runs that finished are kept: "
            "nanoeval ls",
        )


async def run_cells(pending: Sequence[Cell], ledger: Ledger, name: str) -> None:
    """Run these cells together: one run set, one pool, one display.

    A cell that fails has an `error`; the others go on.
    """
    fresh = f"sweep-{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)[:60]}-{secrets.token_hex(4)}"
    for cell in pending:
        if cell.run_set_id is None or not _was_begun(cell, cell.run_set_id):
            cell.run_set_id = fresh
        runner = chz.replace(
            cell.spec.runner,
            run_set_id=cell.run_set_id,
            eval_set_name=cell.spec.runner.eval_set_name or f"sweep {name}",
        )
        cell.spec = chz.replace(cell.spec, runner=runner)
        ledger.note(cell, state="started", run_set_id=cell.run_set_id)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(_run_cell(cell, ledger)) for cell in pending]
    # A signal stops all cells; raised by one of them, it would end the event loop before the
    # others have written what they have.
    for interruption in filter(None, (cell.result() for cell in running)):
        raise interruption


def _was_begun(cell: Cell, run_set_id: str) -> bool:
    """Return whether the state of that run set, or its backup, holds this cell."""
    path = state_file(run_set_id)
    places = [path, *(backup for backup in backups() if backup.name == path.name)]
    found = next((place for place in places if place.exists()), None)
    described = describe_arguments(cell.spec.eval)
    rows = read_state_file(found).evals if found is not None else []
    return any(row.arguments == described for row in rows)


async def _run_cell(cell: Cell, ledger: Ledger) -> BaseException | None:
    """Run a cell and note what became of it; what a signal raised is returned."""
    try:
        cell.summary = await run(cell.spec)
    except (KeyboardInterrupt, SystemExit) as interruption:
        return interruption
    except Exception as error:  # noqa: BLE001  kept in the cell, and shown with the table
        cell.problem = error
        why = {} if cell.over_budget else {"error": cell.error}
        ledger.note(cell, state="stopped" if cell.over_budget else "failed", **why)
    else:
        ledger.note(cell, state="done", summary=cell.summary, run_id=cell.summary["run_id"])
    return None
