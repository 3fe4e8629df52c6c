"""Finds an eval in the registry of the `evals` package, and reads its samples.

The package is located, never imported: its own imports are heavy and want an API key.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

from nanoeval_core.errors import ConfigError

from nanoeval_solvers._evals.scoring import FORMS, Form
from nanoeval_solvers.data import json_lines

_COLUMNS = {
    "hellaswag": ("ctx", "endings", "label"),
    "hendrycks_test": ("question", "choices", "answer"),
}


@dataclasses.dataclass(frozen=True)
class RegisteredEval:
    """An entry of the registry."""

    name: str  # in full, such as `2d_movement.dev.v0`
    form: Form
    args: Mapping[str, Any]
    registry: Path  # the folder that holds the entry and its data


def find_eval(name: str, registries: Sequence[str] = ()) -> RegisteredEval:
    """Return the entry called `name`, in `registries`, the `evals` package's or `~/.evals`.

    Raises:
        ConfigError: nothing is called so, or it is of a form that is not read.
    """
    folders = registry_folders(registries)
    wanted = name
    for _ in range(10):  # aliases of aliases
        found = _find_entry(wanted, folders)
        if found is None:
            raise ConfigError(f"no eval is called {wanted!r}{_close_names(wanted, folders)}")
        entry, registry = found
        alias = entry if isinstance(entry, str) else entry.get("id")
        if alias is None:
            kind = str(entry.get("class", "")).strip()
            if kind not in FORMS:
                known = ", ".join(sorted(form.name for form in FORMS.values()))
                raise ConfigError(
                    f"eval {wanted!r} is a {kind or 'nothing known'}: SamplesEval reads samples of "
                    f"{known}; run it with oaieval"
                )
            return RegisteredEval(wanted, FORMS[kind], dict(entry.get("args") or {}), registry)
        wanted = str(alias)
    raise ConfigError(f"eval {name!r} is an alias of itself in the registry")


def registry_folders(more: Sequence[str]) -> list[Path]:
    """Return the registries to look in: `more`, the `evals` package's, `~/.evals`."""
    folders = [Path(folder).expanduser() for folder in more]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"registry_path={str(folder)!r} is no folder")
    spec = importlib.util.find_spec("evals")
    places = (spec.submodule_search_locations or []) if spec is not None else []
    folders += [Path(place) / "registry" for place in places]
    folders.append(Path.home() / ".evals")
    found = [folder for folder in folders if (folder / "evals").is_dir()]
    if not found:
        raise ConfigError(
            "no evallib registry is here: `pip install --no-deps evals==3.0.1.post1`, or give "
            "registry_path"
        )
    return found


def _find_entry(name: str, folders: Sequence[Path]) -> tuple[Any, Path] | None:
    """Return the entry called `name`; of hundreds of files only the one that has it is parsed."""
    try:
        import yaml  # noqa: PLC0415  comes with evals; needed for its registry only
    except ImportError as error:
        raise ConfigError(
            "reading evallib's registry needs PyYAML: `pip install pyyaml`"
        ) from error
    key = re.compile(rf"^[\"']?{re.escape(name)}[\"']?\s*:", re.MULTILINE)
    for folder in folders:
        for file in sorted((folder / "evals").glob("*.yaml")):
            text = file.read_text("utf-8")
            if not key.search(text):
                continue
            try:
                entries = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise ConfigError(f"{file} is no valid YAML: {error}") from error
            if isinstance(entries, dict) and name in entries:
                return entries[name], folder
    return None


def _close_names(name: str, folders: Sequence[Path]) -> str:
    import difflib  # noqa: PLC0415  for this message only

    key = re.compile(r"^([A-Za-z0-9_][\w.-]*)\s*:", re.MULTILINE)
    names = {
        found
        for folder in folders
        for file in (folder / "evals").glob("*.yaml")
        for found in key.findall(file.read_text("utf-8"))
    }
    close = difflib.get_close_matches(name, names, n=3)
    return f": did you mean {' or '.join(map(repr, close))}?" if close else " in the registry"


def read_samples(entry: RegisteredEval, field: str = "samples_jsonl") -> list[dict[str, Any]]:
    """Return the samples of `entry`, one JSON object each.

    Raises:
        ConfigError: the file is not there or holds something else.
    """
    name = entry.args.get(field)
    if not isinstance(name, str):
        raise ConfigError(f"eval {entry.name!r} has no {field} in the registry")
    path = Path(name) if Path(name).is_file() else entry.registry / "data" / name
    if not path.exists():
        raise ConfigError(f"eval {entry.name!r}: its samples are not there: {path}")
    files = sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]
    return [sample for file in files for sample in json_lines(file)]


def read_questions(entry: RegisteredEval) -> list[dict[str, Any]]:
    """Return the questions of a multiple-choice entry: `question`, `answers` and `label` each.

    `dataset` names a JSONL file of them, or `hf://PATH?name=…&split=…` of the Hugging Face hub.
    """
    dataset = str(entry.args.get("dataset", ""))
    parsed = urlparse(dataset)
    if parsed.scheme != "hf":
        return read_samples(entry, "dataset")
    try:
        import datasets  # noqa: PLC0415  heavy, and needed for these evals only
    except ImportError as error:
        raise ConfigError(f"eval {entry.name!r} reads {dataset}: `pip install datasets`") from error
    query = {name: values[0] for name, values in parse_qs(parsed.query).items()}
    if parsed.netloc not in _COLUMNS:
        raise ConfigError(f"eval {entry.name!r}: the columns of {dataset} are not known")
    question, answers, label = _COLUMNS[parsed.netloc]
    return [
        {"question": row[question], "answers": row[answers], "label": int(row[label])}
        for row in datasets.load_dataset(parsed.netloc, **query)
    ]
