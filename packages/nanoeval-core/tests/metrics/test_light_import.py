from __future__ import annotations

import pkgutil
import subprocess
import sys

import nanoeval_core.metrics
import pytest

HEAVY = {"numpy", "scipy", "pandas", "polars", "statsmodels", "sklearn"}
MODULES = [
    f"nanoeval_core.metrics.{module.name}"
    for module in pkgutil.iter_modules(nanoeval_core.metrics.__path__)
]


def test_no_metric_imports_anything_heavy() -> None:
    code = f"import sys, {', '.join(MODULES)}; print(sorted({HEAVY!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_for(module: str) -> None:
    assert __import__(module, fromlist=["_"]).__doc__
