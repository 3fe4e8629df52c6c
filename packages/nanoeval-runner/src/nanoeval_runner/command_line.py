"""Arguments of a function or class from the command line: one grammar, and errors that help.

chz decides what arguments mean and builds the objects. What is told when it refuses them, and what
`--help` lists, comes from the fields themselves, not from the text of chz's errors.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import inspect
import os
import re
import shutil
import sys
import textwrap
import typing
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import chz
from chz.blueprint import (
    ExtraneousBlueprintArg,
    InvalidBlueprintArg,
    MissingBlueprintArg,
    argv_to_blueprint_args,
)
from chz.factories import MetaFactory, MetaFromString
from chz.tiepin import CastError
from nanoeval_core.errors import ConfigError
from nanoeval_core.eval import Eval

__all__ = [
    "DEBUG_VARIABLE",
    "Argument",
    "Arguments",
    "build",
    "concrete_subclasses",
    "from_command_line",
    "help_text",
    "named_values",
    "type_text",
]

T = TypeVar("T")

DEBUG_VARIABLE = "NANOEVAL_DEBUG"
"""Set to anything, it makes errors come with their tracebacks; `--debug` sets it."""

HINT = "(--help lists all arguments)"
_TAKES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "True or False",
    "str": "a text",
    "NoneType": "None",
}
_LEAVES = (bool, int, float, str, bytes, type(None))
_VARIADIC = (list, tuple, dict)


def from_command_line(target: Callable[..., T], argv: Sequence[str] | None = None) -> T:
    """Call `target` with arguments such as `eval.solver.model=gpt-4o-mini` and `--debug`.

    `name=value`, `--name=value` and `--name value` mean the same.

    Args:
        target: a function or chz class; its annotations say which arguments there are.
        argv: the arguments; by default those of this process.

    Raises:
        ConfigError: an argument that does not exist (with the nearest that does), that cannot be
            read, or whose value is refused; or one that is missing.
        SystemExit: with 0, after `--help` or `-h` was printed.
    """
    words = sys.argv[1:] if argv is None else argv
    if "--debug" in words:
        os.environ[DEBUG_VARIABLE] = "1"
    given = named_values([word for word in words if word not in ("--debug", "--help", "-h")])
    root = _eval_parameter(target)
    if "--help" in words or "-h" in words:
        sys.stdout.write(help_text(target, given, root=root) + "\n")
        sys.exit(0)
    return build(target, given, root=root)


def _eval_parameter(target: Callable[..., Any]) -> str:
    """Return the one parameter that takes an eval: its fields go by their own names too."""
    hints = typing.get_type_hints(target) if inspect.isfunction(target) else {}
    hints.pop("return", None)
    found = [n for n, kind in hints.items() if inspect.isclass(kind) and issubclass(kind, Eval)]
    return found[0] if len(found) == 1 else ""


def named_values(words: Sequence[str]) -> dict[str, str]:
    """Return name → value of `name=value`, `--name=value` and `--name value`.

    Raises:
        ConfigError: a word is not one of these, or an option has no value.
    """
    found: dict[str, str] = {}
    left = deque(words)
    while left:
        word = left.popleft()
        name, equals, value = word.partition("=")
        if not equals and word.startswith("--") and len(word) > 2:
            if not left or left[0].startswith("--"):
                raise ConfigError(f"{word} needs a value: {word} VALUE\n{HINT}")
            value = left.popleft()
        elif not equals or not name.lstrip("-"):
            raise ConfigError(
                f"argument {word!r}: write it as name=value, without spaces, or --name value\n"
                f"{HINT}"
            )
        found[name.lstrip("-")] = value
    return found


def build(
    target: Callable[..., T],
    given: Mapping[str, str],
    *,
    root: str = "",
    hints: Mapping[str, str] = {},
) -> T:
    """Call `target` with the arguments `given`, by their paths.

    Args:
        target: a function or chz class.
        given: path → text. `...name` is every argument of that name.
        root: the parameter of `target` whose fields go by their own names.
        hints: path → what else to say where that argument is missing.

    Raises:
        ConfigError: an argument does not exist, cannot be read, is refused, or is missing.
    """
    arguments = Arguments(target, given, root)
    full = arguments.given
    blueprint = chz.Blueprint(target)
    blueprint.apply(argv_to_blueprint_args([f"{name}={value}" for name, value in full.items()]))
    for argument in arguments.known.values():
        has_own = any(name.startswith(f"{argument.path}.") for name in full)
        if argument.is_abstract and (argument.is_missing or has_own):
            raise ConfigError(
                arguments.about_missing(argument) + hints.get(argument.path, "") + f"\n{HINT}"
            )
    try:
        return blueprint.make()
    except (ExtraneousBlueprintArg, InvalidBlueprintArg, MissingBlueprintArg) as error:
        missing = [one for one in arguments.known.values() if one.is_missing and not one.factory]
        about_missing = arguments.about_missing(*missing) if missing else ""
        problem = arguments.what_is_wrong() or about_missing or error
        raise ConfigError(f"{problem}\n{HINT}") from error


def help_text(target: Callable[..., Any], given: Mapping[str, str], *, root: str = "") -> str:
    """Return every argument of `target` with type, default and doc, as wide as the terminal.

    The fields of the classes that `given` names are among them.
    """
    arguments = Arguments(target, given, root)
    indent, width = " " * 6, min(shutil.get_terminal_size().columns, 100)
    docs = textwrap.TextWrapper(
        width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    head = inspect.getdoc(target)
    lines = [head, ""] if head and not root else []
    lines += ["Usage: name=value …, or --name value, each name one of the following."]
    lines += ["--debug shows tracebacks.", ""]
    for argument in arguments.known.values():
        lines.append(f"  {arguments.short(argument.path)}  {argument.describe()}")
        lines += docs.wrap(argument.doc)
    wrong = arguments.what_is_wrong()
    return "\n".join([*lines, *(["", wrong] if wrong else [])])


@dataclasses.dataclass(frozen=True, slots=True)
class Argument:
    """One argument that there is.

    Attributes:
        path: its full name, such as `eval.solver.model`.
        type: what it takes.
        default: its default as text; None without one.
        doc: what it is for.
        given: its value on the command line.
        factory: the class or function that its own arguments go to.
        meta_factory: what reads its value.
    """

    path: str
    type: Any
    default: str | None
    doc: str
    given: str | None
    factory: Callable[..., Any] | None
    meta_factory: MetaFactory | None

    @property
    def is_missing(self) -> bool:
        return self.default is None and self.given is None

    @property
    def is_abstract(self) -> bool:
        """Whether a class has to be named that its own arguments go to."""
        return inspect.isabstract(typing.get_origin(self.factory) or self.factory)

    @property
    def holds_any(self) -> bool:
        """Whether it is a list or mapping, whose elements go by numbers or keys."""
        kinds = [self.type, *typing.get_args(self.type), self.factory]
        return any((typing.get_origin(kind) or kind) in _VARIADIC for kind in kinds)

    def describe(self) -> str:
        text = type_text(self.type)
        if self.given is not None:
            return f"{text}, given as {self.given}"
        if self.default is not None:
            return f"{text}, default {self.default}"
        has_own = self.factory is not None and not self.is_abstract
        return text if has_own else f"{text}, required"


class Arguments:
    """The arguments that a target has once those in `given` are known, as `build` takes them."""

    def __init__(
        self, target: Callable[..., Any], given: Mapping[str, str], root: str = ""
    ) -> None:
        self.root = root
        self._target = target
        self.given = {self._full_name(name): value for name, value in given.items()}
        self.known = {argument.path: argument for argument in self._of(target, "", ())}

    def knows(self, name: str) -> bool:
        return self._find(self._full_name(name).removesuffix("@")) is not None

    def _full_name(self, name: str) -> str:
        first = re.split(r"[.@]", name, maxsplit=1)[0]
        is_full = name.startswith("...") or not self.root
        if is_full or first in inspect.signature(self._target).parameters:
            return name
        return f"{self.root}.{name}"

    def short(self, path: str) -> str:
        return path.removeprefix(f"{self.root}.") if self.root else path

    def _of(self, target: Any, prefix: str, within: tuple[Any, ...]) -> Iterator[Argument]:
        for name, (kind, default, doc, meta_factory) in _parameters(target).items():
            path = f"{prefix}{name}"
            given = self._value_of(path)
            factory = _factory(meta_factory, given)
            if path != self.root:
                yield Argument(path, kind, default, doc, given, factory, meta_factory)
            if factory is not None and factory not in within:  # a class may hold its own kind
                yield from self._of(factory, f"{path}.", (*within, factory))

    def _value_of(self, path: str) -> str | None:
        if path in self.given:
            return self.given[path]
        wild = (name for name in self.given if "..." in name)
        return next((self.given[name] for name in wild if _wildcard(name).fullmatch(path)), None)

    # --- what is wrong

    def what_is_wrong(self) -> str:
        """Say what is wrong with what was given; empty where nothing is."""
        for name, value in self.given.items():
            argument = self._find(name.removesuffix("@"))
            if argument is None:
                return self._about_unknown(name.removesuffix("@"))
            if argument.given is not None and not name.endswith("@"):
                problem = self._about_value(argument, value)
                if problem:
                    return problem
        return ""

    def about_missing(self, *arguments: Argument) -> str:
        names = [self.short(one.path) for one in arguments]
        text = f"missing: {', '.join(names)}. Give {names[0]}=…"
        classes = sorted(one.__name__ for one in concrete_subclasses(arguments[0].type))
        return text + (f", one of {', '.join(classes)}, or module:Class" if classes else "")

    def _find(self, name: str) -> Argument | None:
        if "..." in name:
            pattern = _wildcard(name)
            return next((one for p, one in self.known.items() if pattern.fullmatch(p)), None)
        if name in self.known or "." not in name:
            return self.known.get(name)
        above = self._find(name.rpartition(".")[0])
        return above if above is not None and above.holds_any else None

    def _about_unknown(self, name: str) -> str:
        text = f"there is no argument {self.short(name)!r}"
        having = self._classes_having(name)
        if having:
            return text + f"\n{having} would have it: choose the class before its fields"
        last = name.rpartition(".")[2].lower()
        alike = [p for p in self.known if p.rpartition(".")[2].lower() == last]
        if alike:
            shown = " or ".join(repr(self.short(path)) for path in alike[:3])
            nested = not self.root and any(path.rpartition(".")[2] == name for path in alike)
            return text + (f"\nmaybe you meant {shown}?" if nested else f"\nDid you mean {shown}?")
        near = difflib.get_close_matches(name, self.known, n=1, cutoff=0.5)
        if not near:
            by_last = {path.rpartition(".")[2]: path for path in self.known}
            near = [by_last[one] for one in difflib.get_close_matches(last, by_last, n=1)]
        return text + (f"\nDid you mean {self.short(near[0])!r}?" if near else "")

    def _classes_having(self, name: str) -> str:
        """Return where `solver.model` does not exist: which classes of solver have it."""
        parent, _, last = name.rpartition(".")
        argument = self.known.get(parent)
        if argument is None:
            return ""
        having = sorted(
            one.__name__
            for one in concrete_subclasses(argument.type)
            if chz.is_chz(one) and last in chz.chz_fields(one)
        )
        return " or ".join(f"{self.short(parent)}={one}" for one in having)

    def _about_value(self, argument: Argument, value: str) -> str:
        """Say what is wrong with a value; empty where it can be read."""
        read = argument.meta_factory
        if read is None or argument.factory is not None:
            return ""
        with contextlib.suppress(CastError):
            read.perform_cast(value)
            return ""
        try:
            read.from_string(value)
        except MetaFromString as error:
            if not type(read).__module__.startswith("chz."):
                return str(error)  # a factory of ours or of the eval's author explains itself
        else:
            return ""
        name = self.short(argument.path)
        if not value:
            return f"argument '{name}=': there is nothing behind the ="
        text = f"{name}={value!r}: "
        lower = {one.__name__.lower(): one.__name__ for one in concrete_subclasses(argument.type)}
        if lower:
            near = difflib.get_close_matches(value.lower(), lower, n=1, cutoff=0.5)
            if near:
                return text + f"no such class\nDid you mean {lower[near[0]]!r}?"
            known = ", ".join(sorted(lower.values()))
            return text + f"no such class\nThere are {known}; or name one as module:Class"
        kinds = [type_text(kind) for kind in typing.get_args(argument.type) or [argument.type]]
        return text + f"give {' or '.join(_TAKES.get(kind, kind) for kind in kinds)}"


def _parameters(target: Any) -> dict[str, tuple[Any, str | None, str, MetaFactory | None]]:
    """Return type, default as text, doc and reader of each argument of a class or function."""
    target = target.func if isinstance(target, functools.partial) else target
    origin = typing.get_origin(target) or target
    if chz.is_chz(origin):
        defaults = inspect.signature(origin.__init__).parameters
        return {
            name: (field.x_type, _default(defaults[name]), _doc(field), field.meta_factory)
            for name, field in chz.chz_fields(origin).items()
        }
    if not inspect.isfunction(origin):
        return {}
    hints = typing.get_type_hints(origin)
    return {
        name: (
            hints.get(name, object),
            _default(parameter),
            "",
            chz.factories.standard(
                annotation=hints.get(name, object), default_module=origin.__module__
            ),
        )
        for name, parameter in inspect.signature(origin).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


def _doc(field: Any) -> str:
    # The one name of chz's that is private: a field has no other place where its doc is.
    return str(getattr(field, "_doc", ""))


def _default(parameter: inspect.Parameter) -> str | None:
    if parameter.default is parameter.empty:
        return None
    text = repr(parameter.default)
    return "chosen by the class" if text.startswith("<") or len(text) > 60 else text


def _factory(read: MetaFactory | None, given: str | None) -> Callable[..., Any] | None:
    """Return the class or function whose arguments follow, if the argument holds such an object."""
    if read is None:
        return None
    if given is None:
        found = read.unspecified_factory()
    else:
        try:
            found = read.from_string(given)
        except (MetaFromString, ConfigError):
            return None
    inner = typing.get_origin(found) or found
    if inner in _LEAVES or not callable(found):
        return None
    return found if inspect.isabstract(inner) or _parameters(found) else None


def _wildcard(name: str) -> re.Pattern[str]:
    """Return what `...name` and `a...name` match."""
    head, *tail = (re.escape(part) for part in name.split("..."))
    start = rf"{head}\." if head else ""
    return re.compile(start + r"(?:.*\.)?" + r"\.(?:.*\.)?".join(tail))


def type_text(kind: Any) -> str:
    """Return a type as people write it: without the modules that hold its classes."""
    if inspect.isclass(kind) and not typing.get_args(kind):
        return kind.__name__
    return re.sub(r"(?:[\w-]+\.)+(?=\w)", "", inspect.formatannotation(kind))


def concrete_subclasses(base: Any) -> list[type[Any]]:
    """Return the loaded chz classes below `base` that can be built, at any depth, each once."""
    waiting = [typing.get_origin(one) or one for one in (base, *typing.get_args(base))]
    found: dict[type[Any], None] = {}
    while waiting:
        above = waiting.pop()
        if not inspect.isclass(above) or above is object or above in _LEAVES:
            continue
        for one in above.__subclasses__():
            if one not in found:
                found[one] = None
                waiting.append(one)
    return [one for one in found if chz.is_chz(one) and not inspect.isabstract(one)]
