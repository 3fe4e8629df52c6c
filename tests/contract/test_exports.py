"""The public names: where they are, and that lazy ones are seen by type checkers too."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.workspace import all_packages

EVAL = ["Eval", "EvalSpec", "RunnerArgs", "Task", "RolloutSystemError"]
PUBLIC = {
    "nanoeval": [*EVAL, "run", "validate", "resume"],
    "nanoeval.eval": [
        *EVAL,
        "SystemErrorsNotSupported",
        "assert_no_system_errors",
        "TTask",
        "TResult",
    ],
    "nanoeval.evaluation": [*EVAL, "run", "validate", "run_eval_in_database"],
    "nanoeval.setup": ["nanoeval_entrypoint", "nanoeval_logging", "global_exit_stack"],
    "nanoeval.recorder": [
        "get_recorder",
        "set_default_recorder",
        "dummy_recorder",
        "RecorderProtocol",
        "RecorderConfig",
    ],
    "nanoeval.recorder_protocol": ["RecorderProtocol", "RecorderConfig", "RunSpec", "BasicRunSpec"],
    "nanoeval.recorders": [
        "json_recorder",
        "dummy_recorder",
        "JsonRecorder",
        "JsonRecorderConfig",
    ],
    "nanoeval.json_recorder": [
        "json_recorder",
        "dummy_recorder",
        "JsonRecorder",
        "JsonRecorderConfig",
    ],
    "nanoeval.library_config": ["LibraryConfig", "get_library_config", "set_library_config"],
    "nanoeval.asyncio_utils": [
        "HasAsyncContextManager",
        "HasAsyncContextManagerWithValue",
        "generator_with_cleanup",
        "gather_with_concurrency",
        "cancel_task",
    ],
    "nanoeval.metrics.standard": [
        "compute_default_metrics",
        "compute_default_metrics_on_correctness_without_answer_groups",
        "handle_system_errors_and_compute_metrics",
    ],
    "nanoeval.metrics.agents": ["get_summary_error_aware"],
    "nanoeval.solvers.mcq": [
        "Question",
        "Answer",
        "MCQTask",
        "MCQSolver",
        "MCQEval",
        "MockSolver",
    ],
    "nanoeval.solvers.mcq_api": ["OpenAIAPIMCQSolver"],
    "nanoeval.solvers.short_answer": [
        "Question",
        "Answer",
        "ShortAnswerTask",
        "ShortAnswerSolver",
        "ShortAnswerEval",
        "MockSolver",
    ],
}
COMMANDS = ["resume", "mon", "concurrency", "sqlite"]


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_where_the_contract_says(module: str) -> None:
    loaded = importlib.import_module(module)
    missing = [name for name in PUBLIC[module] if not hasattr(loaded, name)]
    assert not missing
    starred: dict[str, object] = {}
    exec(f"from {module} import *", starred)
    assert set(PUBLIC[module]) <= starred.keys()


@pytest.mark.parametrize("module", PUBLIC)
def test_public_modules_import_on_their_own(module: str) -> None:
    # In a process of its own: an import cycle shows only when a module is the first one loaded.
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist_and_explain_themselves(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"nanoeval.bin.{command}", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 40


def lazy_packages() -> list[str]:
    return [
        name
        for name, folder in all_packages().items()
        if "_HOME = {" in (folder / "src" / name / "__init__.py").read_text("utf-8")
    ]


def test_the_packages_people_import_first_are_lazy() -> None:
    assert {"nanoeval", "nanoeval_core"} <= set(lazy_packages())


@pytest.mark.parametrize("package", lazy_packages())
def test_lazy_table_type_checking_block_and_all_agree(package: str) -> None:
    module = importlib.import_module(package)
    tree = ast.parse(Path(inspect.getfile(module)).read_text("utf-8"))
    block = next(
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen_by_type_checkers = {
        alias.asname: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module != package
        for alias in node.names
    }
    assert {name: module_name for name, (module_name, _) in seen_by_type_checkers.items()} == (
        module._HOME
    )
    assert all(name == original for name, (_, original) in seen_by_type_checkers.items())
    assert sorted(module.__all__) == sorted(module._HOME)
    for name in module.__all__:
        assert getattr(module, name) is getattr(importlib.import_module(module._HOME[name]), name)
    assert set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize(
    "path", ["eval.Task", "setup.nanoeval_entrypoint", "solvers.mcq.MCQEval", "metrics.standard"]
)
def test_submodules_are_attributes_after_importing_the_package_alone(path: str) -> None:
    subprocess.run([sys.executable, "-c", f"import nanoeval; nanoeval.{path}"], check=True)


@pytest.mark.parametrize("package", lazy_packages())
def test_unknown_names_are_refused_in_the_usual_words(package: str) -> None:
    module = importlib.import_module(package)
    with pytest.raises(AttributeError, match=rf"module '{package}' has no attribute 'nope'"):
        _ = module.nope


def test_version_is_that_of_the_package() -> None:
    import nanoeval

    assert nanoeval.__version__.count(".") == 2
