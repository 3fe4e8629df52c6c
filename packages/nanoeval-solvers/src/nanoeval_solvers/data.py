"""Questions and tasks from files and datasets.

    Question.from_hf("cais/mmlu", {"question": "question", "answers": "choices",
                                   "correct": "answer", "metadata": {"subject": "subject"}},
                     name="all", split="test")

`FromRows` gives a pydantic model `from_rows`, `from_csv`, `from_jsonl`, `from_parquet`, `from_hf`.
Both kinds of `Question` have it; `class Sum(FromRows, Task)` gives it to a task of your own.

The second argument says where a field comes from: a column's name, a list or mapping of such
(`["Correct Answer", "Incorrect Answer 1"]`, `{"subject": "Subdomain"}`), a function of the row, or
a value for all rows (`{0}`). Without it, columns are named as fields. A function in its place gets
the row and returns the object, its fields as a mapping, or None to leave the row out.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeAlias

from nanoeval_core.errors import ConfigError
from pydantic import BaseModel, ValidationError

__all__ = ["FieldsOf", "FromRows", "Row"]

Row: TypeAlias = Mapping[str, Any]
"""A row of a table, by the names of its columns."""

FieldsOf: TypeAlias = "Mapping[str, Any] | Callable[[Row], Any]"
"""Where the fields of an object come from: see the module."""


class FromRows:
    """A pydantic model that can be made of the rows of a file or dataset."""

    @classmethod
    def from_rows(
        cls, rows: Iterable[Row], fields: FieldsOf | None = None, *, source: str = "rows"
    ) -> list[Self]:
        """Return the objects that `rows` describe, in their order; see the module for `fields`.

        A task without a `question_id` is named by the number of its row, from 0.

        Raises:
            ConfigError: a column is missing, or a row does not describe one; names the row.
        """
        return list(_made(cls, rows, fields, source))

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        fields: FieldsOf | None = None,
        *,
        delimiter: str = ",",
        source: str | None = None,
    ) -> list[Self]:
        """Return the objects of a CSV file with a header, at a path or URL.

        All its values are texts, without the blanks around them. A field that an object must have
        may not come from an empty cell.

        Args:
            path: the file, in UTF-8.
            fields: see the module.
            delimiter: what stands between cells.
            source: what errors call the file; by default its path.
        """
        where = source or str(path)
        try:
            text = _content(path).decode("utf-8-sig")
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"{where} cannot be read: {error}") from error
        rows = _csv_rows(text, delimiter, where)
        return list(_made(cls, rows, fields, where, is_csv=True))

    @classmethod
    def from_jsonl(cls, path: str | Path, fields: FieldsOf | None = None) -> list[Self]:
        """Return the objects of a file with a JSON object a line."""
        return cls.from_rows(json_lines(path), fields, source=str(path))

    @classmethod
    def from_parquet(cls, path: str | Path, fields: FieldsOf | None = None) -> list[Self]:
        """Return the objects of a Parquet file."""
        try:
            from pyarrow import parquet  # noqa: PLC0415  heavy, and needed for such files only
        except ImportError as error:
            raise _missing("pyarrow", f"reading {path}") from error
        try:
            rows = parquet.read_table(path).to_pylist()
        except (OSError, ValueError) as error:  # pyarrow's own errors are these
            raise ConfigError(f"{path} cannot be read as Parquet: {error}") from error
        return cls.from_rows(rows, fields, source=str(path))

    @classmethod
    def from_hf(
        cls,
        path: str,
        fields: FieldsOf | None = None,
        *,
        name: str | None = None,
        split: str = "test",
        **options: Any,
    ) -> list[Self]:
        """Return the objects of a dataset of the Hugging Face hub, or of a folder with one.

        Args:
            path: the dataset, such as `cais/mmlu`, or a folder.
            fields: see the module.
            name: its configuration.
            split: the part of it.
            options: what else `datasets.load_dataset` takes, such as `revision`.
        """
        try:
            import datasets  # noqa: PLC0415  heavy, and needed for datasets only
        except ImportError as error:
            raise _missing("datasets", f"reading the dataset {path!r}") from error
        try:
            rows = datasets.load_dataset(path, name, split=split, **options)
        except (OSError, ValueError) as error:  # what datasets raises for names, files and network
            raise ConfigError(f"the dataset {path!r} cannot be read: {error}") from error
        return cls.from_rows(rows, fields, source=f"{path} ({split})")


def _content(path: str | Path) -> bytes:
    if str(path).startswith(("http://", "https://")):
        import urllib.request  # noqa: PLC0415  for URLs only

        with urllib.request.urlopen(str(path), timeout=60) as response:
            return bytes(response.read())
    return Path(path).read_bytes()


def _csv_rows(text: str, delimiter: str, where: str) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    number = 1
    try:
        for number, row in enumerate(reader, 2):
            if None in row:
                raise ConfigError(
                    f"{where}, row {number} (the header is row 1): more cells than columns: is a "
                    f"{delimiter!r} not quoted?"
                )
            yield {column: (cell or "").strip() for column, cell in row.items()}
    except csv.Error as error:
        raise ConfigError(
            f"{where}, row {number + 1} (the header is row 1): {error}: is a quote not closed?"
        ) from error


def _made(
    cls: Any, rows: Iterable[Row], fields: FieldsOf | None, source: str, *, is_csv: bool = False
) -> Iterator[Any]:
    assert issubclass(cls, BaseModel), f"{cls.__name__} is no pydantic model"  # noqa: S101
    needed = {name for name, one in cls.model_fields.items() if is_csv and one.is_required()}
    for number, row in enumerate(rows):
        at = f"{number + 2} (the header is row 1)" if is_csv else number
        where = f"{source}, row {at}"
        if fields is None:
            made: Any = {name: value for name, value in row.items() if value is not None}
        elif callable(fields):
            made = fields(row)
        else:
            made = {
                field: _value(row, given, where, needed=field in needed)
                for field, given in fields.items()
            }
        if made is None:
            continue
        if isinstance(made, Mapping):
            if "question_id" in cls.model_fields:
                made = {"question_id": str(number), **made}
            try:
                made = cls(**made)
            except ValidationError as error:
                problems = "; ".join(
                    f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()
                )
                raise ConfigError(
                    f"{where} describes no {cls.__name__}: {problems}. Mend the row, or leave it "
                    "out: a function in place of the fields gives None for it"
                ) from error
        yield made


def _value(row: Row, given: Any, where: str, *, needed: bool = False) -> Any:
    """Return what `given` says of a row; `needed` values are no empty text."""
    if isinstance(given, str):
        if given not in row:
            raise ConfigError(
                f"{where}, column {given!r}: not among the columns {list(row)}: give the name of "
                "one of them"
            )
        if needed and row[given] == "":
            raise ConfigError(f"{where}, column {given!r}: empty: fill it in, or take the row out")
        return row[given]
    if isinstance(given, list | tuple):
        return [_value(row, one, where, needed=needed) for one in given]
    if isinstance(given, Mapping):
        return {name: _value(row, one, where, needed=needed) for name, one in given.items()}
    return given(row) if callable(given) else given


def json_lines(path: str | Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file of JSON lines, gzipped where its name ends with .gz.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    number = 0
    try:
        with (gzip.open if str(path).endswith(".gz") else open)(path, "rb") as file:
            for number, line in enumerate(file, 1):
                row = json.loads(line) if line.strip() else {}
                if not isinstance(row, dict):
                    raise ConfigError(f"{path}, line {number} is no JSON object")
                if line.strip():
                    yield row
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        hint = " (a pointer of Git LFS?)" if line.startswith(b"version https://git") else ""
        raise ConfigError(f"{path}, line {number} is no JSON{hint}: {error}") from error


def _missing(package: str, what: str) -> ConfigError:
    return ConfigError(f"{what} needs {package}: `pip install 'nanoeval-solvers[data]'`")
