"""Evals by name: `my_pkg.my_eval:MyEval`, `my_eval.py:MyEval`, or a script to be run as it is."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import os
import runpy
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, get_origin

import chz
from click.shell_completion import CompletionItem
from nanoeval_core.errors import ConfigError
from nanoeval_core.eval import Eval
from nanoeval_core.spec import EvalSpec, RunnerArgs
from nanoeval_runner.command_line import Arguments, build, concrete_subclasses

from nanoeval_cli._command import completions

EvalClass = type[Eval[Any, Any]]

GC_THRESHOLD = 50_000
"""Allocations between young collections: attempts in flight are young objects that stay alive."""

SHIPPED_SOLVERS = tuple(
    f"nanoeval_solvers.{name}"
    for name in ("mcq_api", "mcq_logprobs", "short_answer_api", "consensus")
)
MODEL_OF_AGENT = "solver.model.model"
SHIPPED_MACHINES = tuple(
    f"nanoeval_computer.{name}" for name in ("mock_agent", "local", "containers")
)


def find_eval_class(target: str) -> EvalClass:
    """Return the eval class that `target` names; where its module holds just one, the module does.

    Raises:
        ConfigError: no such class; names those that there are.
    """
    module_name, _, class_name = target.partition(":")
    class_name = class_name.removeprefix(":")  # `file.py::Class`, as pytest has it
    file, dot, name = module_name.rpartition(".py.")
    if dot and name.isidentifier():
        raise ConfigError(f"{target}: write {file}.py:{name}")
    module = _load_module(module_name)
    # Those that the module itself defines and that can be built.
    classes = {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, Eval)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    }
    names = ", ".join(sorted(classes)) or "no eval"
    if class_name:
        found = getattr(module, class_name, None)
        if inspect.isclass(found) and issubclass(found, Eval):
            _check_class(found, target)
            return found
        if found is not None:
            is_class = inspect.isclass(found)
            what = f"the class {found.__name__}" if is_class else f"a {type(found).__name__}"
            raise ConfigError(
                f"{target} is {what}, not an eval: name a subclass of nanoeval.Eval; "
                f"{module_name} has {names}"
            )
        near = difflib.get_close_matches(class_name, classes, n=1)
        guess = f": did you mean {near[0]}?" if near else f"; it has {names}"
        raise ConfigError(f"{module_name} has no {class_name}{guess}")
    if len(classes) == 1:
        return next(iter(classes.values()))
    raise ConfigError(f"which eval of {module_name}? It has {names}: write {module_name}:NAME")


def _check_class(eval_class: EvalClass, target: str) -> None:
    missing = sorted(getattr(eval_class, "__abstractmethods__", ()))
    if missing:
        raise ConfigError(f"{target} lacks {', '.join(missing)}: define what every eval has")
    own_fields = inspect.get_annotations(eval_class)
    if own_fields and "__chz_fields__" not in vars(eval_class):
        raise ConfigError(
            f"{target} has fields ({', '.join(own_fields)}) but is no chz class: put @chz.chz "
            f"above `class {eval_class.__name__}`"
        )


def _load_module(name: str) -> ModuleType:
    """Return the module `name`, or the file, as Python would find it from the current folder."""
    folder = os.getcwd()
    if not name.endswith(".py") and (not name or name.startswith(".")):
        raise ConfigError(
            f"{name!r} names no module: write my_pkg.my_eval:MyEval, or path/to/my_eval.py:MyEval"
        )
    if name.endswith(".py"):
        path = Path(name).expanduser().resolve()
        if not path.is_file():
            raise ConfigError(f"there is no file {name} in {folder}")
        names, parent = [path.stem], path.parent
        while (parent / "__init__.py").exists():  # with its packages
            names.insert(0, parent.name)
            parent = parent.parent
        folder, name = str(parent), ".".join(names)
    _reach(folder)
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


def _near_module(name: str) -> str:
    files = [path.stem for path in Path.cwd().glob("*.py")]
    files += [path.name for path in Path.cwd().iterdir() if path.is_dir()]
    near = difflib.get_close_matches(name.partition(".")[0], files, n=1)
    return f" (did you mean {near[0]!r}?)" if near and near[0] != name else ""


def is_script(target: str) -> bool:
    """Return whether `target` is to be run as a program: it names no class and has a main part."""
    if ":" in target:
        return False
    file: str | None = target
    if not target.endswith(".py"):
        _reach(os.getcwd())
        try:
            spec = importlib.util.find_spec(target)
        except (ImportError, ValueError):
            return False
        file = spec.origin if spec is not None else None
    path = Path(file or "").expanduser()
    if path.suffix != ".py" or not path.is_file():
        return False
    try:
        body = ast.parse(path.read_text("utf-8")).body
    except SyntaxError:
        return True  # running it says what is wrong
    tests = [ast.unparse(node.test) for node in body if isinstance(node, ast.If)]
    return any("__name__" in test and "__main__" in test for test in tests)


def _reach(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def run_script(target: str, arguments: Sequence[str]) -> None:
    """Run a script or module as `python` would, with these arguments."""
    sys.argv = [target, *arguments]
    if target.endswith(".py"):
        sys.path.insert(0, str(Path(target).resolve().parent))
        runpy.run_path(target, run_name="__main__")
    else:
        runpy.run_module(target, run_name="__main__", alter_sys=True)
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join()  # as Python does at the end of a script


def make_spec(eval_class: EvalClass, given: Mapping[str, str]) -> EvalSpec:
    """Make an eval and how to run it from arguments by name.

    The eval's fields go by their own names, the runner's by `runner.NAME`; `...name` sets every
    field of that name, wherever it is. `model` alone chooses the solver that asks an API.
    """
    hints = {"eval.solver": "; model=NAME alone asks that model over an API"}
    return build(spec_of(eval_class), with_solver(eval_class, given), root="eval", hints=hints)


def spec_of(eval_class: EvalClass) -> Callable[..., EvalSpec]:
    """Return a function whose arguments are those of `nanoeval run` for an eval."""

    def spec(eval: Any, runner: RunnerArgs) -> EvalSpec:
        if runner.gc_threshold is None:  # the process is the command's own
            runner = chz.replace(runner, gc_threshold=GC_THRESHOLD)
        return EvalSpec(eval=eval, runner=runner)

    spec.__doc__ = inspect.getdoc(eval_class) or eval_class.__name__
    spec.__annotations__ = {"eval": eval_class, "runner": RunnerArgs, "return": EvalSpec}
    return spec


def with_solver(eval_class: EvalClass, given: Mapping[str, str]) -> dict[str, str]:
    """Return `given`, with the solver that asks an API where a model but no solver is named."""
    found = {name.removeprefix("eval."): value for name, value in given.items()}
    fields = chz.chz_fields(eval_class)
    if found or "solver" in fields:
        of_machines = "nanoeval_computer.solver" in sys.modules
        for module in SHIPPED_SOLVERS + SHIPPED_MACHINES * of_machines:
            importlib.import_module(module)  # so that `solver=NAME` finds them
    if "solver" not in fields:
        return found
    near = difflib.get_close_matches("model", found.keys() - fields.keys(), n=1, cutoff=0.8)
    if near and near[0] != "model":
        raise ConfigError(f"there is no argument {near[0]!r}\nDid you mean 'model'?")
    model = found.pop("model", None) if "model" not in fields else None
    read = fields["solver"].meta_factory
    default = read.unspecified_factory() if read is not None else None
    is_abstract = inspect.isabstract(get_origin(default) or default)
    needs_one = is_abstract and any(name.startswith("solver.") for name in found)
    names_model = "model" in given or "...model" in given
    if "solver" not in found and (names_model or needs_one):
        asking = [
            one
            for one in concrete_subclasses(fields["solver"].x_type)
            if one.__name__ == "ToolAgentSolver"
            or (one.__module__ in SHIPPED_SOLVERS and one.__name__.startswith("OpenAIAPI"))
        ]
        if asking:
            found["solver"] = f"{asking[0].__module__}:{asking[0].__name__}"
    if model is not None:
        is_agent = Arguments(spec_of(eval_class), found, "eval").knows(MODEL_OF_AGENT)
        found[MODEL_OF_AGENT if is_agent else "solver.model"] = model
    return found


def arguments_of(eval_class: EvalClass, given: Mapping[str, str]) -> Arguments:
    """Return the arguments that an eval has once those in `given` are known."""
    return Arguments(spec_of(eval_class), with_solver(eval_class, given), "eval")


def field_names(target: str) -> set[str]:
    """Return the names of an eval's own fields; none where `target` is no eval."""
    try:
        return set(chz.chz_fields(find_eval_class(target)))
    except ConfigError:  # told when it is to be run
        return set()


def complete_target(incomplete: str) -> list[CompletionItem]:
    """Return the files, and the evals in a file, that a target may go on with; import nothing."""
    file, colon, _ = incomplete.partition(":")
    if colon and file.endswith(".py") and Path(file).is_file():
        return completions({f"{file}:{one}": None for one in evals_in(file)}, incomplete)
    head, slash, name = incomplete.rpartition("/")
    folder = Path(head + slash)
    found: dict[str, None] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith(name) and not path.name.startswith("."):
            text = head + slash + path.name
            evals = evals_in(str(path)) if path.suffix == ".py" else []
            found |= dict.fromkeys([f"{text}/"] * path.is_dir() + [f"{text}:{e}" for e in evals])
    return completions(found, incomplete)


def evals_in(file: str) -> list[str]:
    """Return the classes of a file whose bases look like an eval; import nothing."""
    try:
        body = ast.parse(Path(file).read_text("utf-8")).body
    except (SyntaxError, OSError, UnicodeDecodeError):
        return []
    return [
        node.name
        for node in body
        if isinstance(node, ast.ClassDef) and any("Eval" in ast.unparse(b) for b in node.bases)
    ]


def complete_argument(
    target: str, given: Mapping[str, str], incomplete: str
) -> list[CompletionItem]:
    """Return the arguments of an eval that begin like this, or the classes that one may name."""
    arguments = arguments_of(find_eval_class(target), given)
    names = {arguments.short(path): one for path, one in arguments.known.items()}
    name, equals, _ = incomplete.partition("=")
    if equals and name in names:
        values = [one.__name__ for one in concrete_subclasses(names[name].type)]
        values += ["True", "False"] if names[name].type is bool else []
        return completions({f"{name}={one}": None for one in values}, incomplete)
    return completions({f"{name}=": one.doc for name, one in names.items()}, incomplete)
