"""Evals by name: `my_pkg.my_eval:MyEval`, `my_eval.py:MyEval`, or a script to be run as it is."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import os
import re
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from nanoeval_core.errors import ConfigError
from nanoeval_core.eval import Eval
from nanoeval_core.spec import EvalSpec, RunnerArgs
from nanoeval_runner.command_line import from_command_line, subclasses

EvalClass = type[Eval[Any, Any]]

SHIPPED_SOLVERS = tuple(
    f"nanoeval_solvers.{name}"
    for name in ("mcq_api", "mcq_logprobs", "short_answer_api", "consensus")
)


def find_eval_class(target: str) -> EvalClass:
    """The eval class that `target` names; its module may hold just one, and then needs no name.

    Raises:
        ConfigError: there is none such; says what there is.
    """
    module_name, _, class_name = target.partition(":")
    module = load_module(module_name)
    classes = _eval_classes(module)
    if class_name:
        found = getattr(module, class_name, None)
        if inspect.isclass(found) and issubclass(found, Eval):
            _check_class(found, target)
            return found
        if found is not None:
            raise ConfigError(
                f"{target} is {_what(found)}, not an eval: name a subclass of nanoeval.Eval; "
                f"{module_name} has {_names(classes)}"
            )
        near = difflib.get_close_matches(class_name, classes, n=1)
        guess = f": did you mean {near[0]}?" if near else f"; it has {_names(classes)}"
        raise ConfigError(f"{module_name} has no {class_name}{guess}")
    if len(classes) == 1:
        return next(iter(classes.values()))
    raise ConfigError(
        f"which eval of {module_name}? It has {_names(classes)}: write {module_name}:NAME"
    )


def _check_class(eval_class: EvalClass, target: str) -> None:
    """Raise `ConfigError` for a class that cannot be built."""
    missing = sorted(getattr(eval_class, "__abstractmethods__", ()))
    if missing:
        raise ConfigError(f"{target} lacks {', '.join(missing)}: define what every eval has")
    own_fields = inspect.get_annotations(eval_class)
    if own_fields and "__chz_fields__" not in vars(eval_class):
        raise ConfigError(
            f"{target} has fields ({', '.join(own_fields)}) but is no chz class: put @chz.chz "
            f"above `class {eval_class.__name__}`"
        )


def load_module(name: str) -> ModuleType:
    """The module `name`, or the file, as Python would find it from the current folder.

    Raises:
        ConfigError: it is not there, or does not import.
    """
    folder = os.getcwd()
    if not name or name.startswith("."):
        raise ConfigError(
            f"{name!r} names no module: write my_pkg.my_eval:MyEval, or path/to/my_eval.py:MyEval"
        )
    with_class = re.fullmatch(r"(.+\.py)\.(\w+)", name)
    if with_class is not None:
        raise ConfigError(f"{name}: write {with_class[1]}:{with_class[2]}")
    if name.endswith(".py"):
        path = Path(name).expanduser().resolve()
        if not path.is_file():
            raise ConfigError(f"there is no file {name} in {folder}")
        folder, name = _folder_and_module(path)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name + ".").startswith(error.name + "."):
            near = _near_module(name)
            raise ConfigError(
                f"there is no module {error.name!r}{near}: looked in {folder} and in what is "
                "installed. Name it as in `import`, or give its file: path/to/my_eval.py:MyEval"
            ) from error
        raise ConfigError(
            f"{name} imports {error.name!r}, which is not installed: install it into this "
            "environment (pip install …)"
        ) from error
    except SyntaxError as error:
        raise ConfigError(f"{error.filename}:{error.lineno}: {error.msg}: mend it first") from error


def _folder_and_module(path: Path) -> tuple[str, str]:
    """The folder to import a file from, and its name there: with the packages that hold it."""
    folder, names = path.parent, [path.stem]
    while (folder / "__init__.py").exists():
        names.insert(0, folder.name)
        folder = folder.parent
    return str(folder), ".".join(names)


def _near_module(name: str) -> str:
    files = [path.stem for path in Path.cwd().glob("*.py")]
    files += [path.name for path in Path.cwd().iterdir() if path.is_dir()]
    near = difflib.get_close_matches(name.partition(".")[0], files, n=1)
    return f" (did you mean {near[0]!r}?)" if near and near[0] != name else ""


def _eval_classes(module: ModuleType) -> dict[str, EvalClass]:
    """The evals that `module` itself defines and that can be built."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, Eval)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    }


def _names(classes: dict[str, EvalClass]) -> str:
    return ", ".join(sorted(classes)) or "no eval"


def _what(value: object) -> str:
    return f"the class {value.__name__}" if inspect.isclass(value) else f"a {type(value).__name__}"


def is_script(target: str) -> bool:
    """Whether `target` is to be run as a program: it names no class and has a main part."""
    if ":" in target:
        return False
    if target.endswith(".py"):
        path = Path(target).expanduser()
        return path.is_file() and _has_main(path.read_text("utf-8"))
    try:
        spec = importlib.util.find_spec(target) if _in_reach() else None
    except (ImportError, ValueError):
        return False
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return False
    return _has_main(Path(spec.origin).read_text("utf-8"))


def _in_reach() -> bool:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return True


def _has_main(source: str) -> bool:
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return True  # running it says what is wrong
    tests = [ast.unparse(node.test) for node in body if isinstance(node, ast.If)]
    return any("__name__" in test and "__main__" in test for test in tests)


def run_script(target: str, arguments: Sequence[str]) -> None:
    """Run a script or module as `python` would, with these arguments."""
    sys.argv = [target, *arguments]
    if target.endswith(".py"):
        sys.path.insert(0, str(Path(target).resolve().parent))
        runpy.run_path(target, run_name="__main__")
    else:
        runpy.run_module(target, run_name="__main__", alter_sys=True)


def make_spec(eval_class: EvalClass, arguments: Sequence[str]) -> EvalSpec:
    """An eval and how to run it, from `name=value` arguments.

    The eval's fields go by their own names, the runner's by `runner.NAME`; `...name=value` sets
    every field of that name, wherever it is.
    """

    def spec(eval: Any, runner: RunnerArgs) -> EvalSpec:
        return EvalSpec(eval=eval, runner=runner)

    if any("=" in argument or argument.startswith("-") for argument in arguments):
        _load_shipped_solvers()
    spec.__doc__ = inspect.getdoc(eval_class) or eval_class.__name__
    spec.__annotations__ = {"eval": eval_class, "runner": RunnerArgs, "return": EvalSpec}
    build: Callable[..., EvalSpec] = spec
    try:
        return from_command_line(build, [_full_name(argument) for argument in arguments])
    except ConfigError as error:
        raise ConfigError(_short_names(_with_classes(str(error), eval_class))) from error


def _load_shipped_solvers() -> None:
    """Make `solver=OpenAIAPIMCQSolver` work although the eval's own module does not import it."""
    for module in SHIPPED_SOLVERS:
        importlib.import_module(module)


def _with_classes(text: str, eval_class: EvalClass) -> str:
    """Where the argument `solver.model` does not exist: which classes of solver would have it."""
    found = re.match(r"there is no argument '(?:eval\.)?(\w+)\.(\w+)'", text)
    field = getattr(eval_class, "__chz_fields__", {}).get(found[1]) if found else None
    if found is None or field is None or not inspect.isclass(field.x_type):
        return text
    having = [
        one.__name__
        for one in subclasses(field.x_type)
        if found[2] in getattr(one, "__chz_fields__", {}) and not inspect.isabstract(one)
    ]
    if not having:
        return text
    choices = " or ".join(f"{found[1]}={name}" for name in sorted(having))
    head, _, rest = text.partition("\n")
    return f"{head}\n{choices} would have it: choose the class before its fields\n{rest}"


def _full_name(argument: str) -> str:
    name = argument.partition("=")[0]
    first = re.split(r"[.=]", argument, maxsplit=1)[0]
    if (
        not name
        or name.startswith(("...", "-"))
        or first in ("runner", "eval")
        or "=" not in argument
    ):
        return argument
    return f"eval.{argument}"


def _short_names(text: str) -> str:
    return re.sub(r"(?<![\w.])eval\.(?=\w)", "", text)
