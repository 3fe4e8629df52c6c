"""Import cost, of whole processes, as a ratio to `import chz, pydantic` in the same run.

python benchmarks/import_cost.py [rounds | --small]

Exits with 1 when a promised ratio is exceeded.
"""

import statistics
import subprocess
import sys
import time

BASELINE = "import chz, pydantic"
LIMITS: dict[str, float | None] = {
    BASELINE: None,
    "import nanoeval_core": 1.25,
    "import nanoeval": 1.4,
    "from nanoeval import Eval, EvalSpec, RunnerArgs, Task": None,
    "from nanoeval import run": None,
    "import pydantic; class_ = pydantic.BaseModel": None,
    "pass": None,
}


def seconds(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def main(rounds: int) -> int:
    for statement in LIMITS:
        seconds(statement)  # bytecode and disk caches
    measured: dict[str, list[float]] = {statement: [] for statement in LIMITS}
    for _ in range(rounds):  # interleaved, so that a busy moment is shared by all
        for statement in LIMITS:
            measured[statement].append(seconds(statement))
    medians = {statement: statistics.median(times) for statement, times in measured.items()}
    exceeded = False
    for statement, limit in LIMITS.items():
        ratio = medians[statement] / medians[BASELINE]
        verdict = "" if limit is None else f"  (at most {limit})"
        exceeded |= limit is not None and ratio > limit
        print(f"{medians[statement] * 1e3:7.1f} ms  {ratio:5.2f} ×  {statement}{verdict}")
    return int(exceeded)


if __name__ == "__main__":
    if "--small" in sys.argv:
        main(1)
    else:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 15))
