"""Makes `.venv-evals`: an environment with the published `evals` package and nanoeval.

Tests that run the real `oaieval` use it, and are skipped without it. Its own list of dependencies
does not install as a whole, so it is installed without, and those it needs to start are named here.

    python scripts/make_evals_venv.py [FOLDER]
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ROOT / "packages"
EVALS = "evals==3.0.1.post1"
NOT_WITH_NANOEVAL = {"nanoeval-monitor", "nanoeval-ray"}
NEEDED = """
openai blobfile backoff dacite filelock pydantic pyyaml requests tqdm numpy lz4 zstandard beartype
tiktoken termcolor aiolimiter fire setuptools
"""


def main(folder: Path) -> None:
    if (folder / "bin" / "oaieval").exists():
        print(f"{folder} is here already")
        return
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *NEEDED.split()], check=True)
    ours = [path for path in PACKAGES.iterdir() if path.name not in NOT_WITH_NANOEVAL]
    editable = [argument for path in ours for argument in ("--editable", str(path))]
    subprocess.run([*pip, *editable], check=True)
    subprocess.run([*pip, "--no-deps", EVALS], check=True)  # the last: it is what is looked for
    print(f"{folder}: {EVALS} and nanoeval")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".venv-evals")
