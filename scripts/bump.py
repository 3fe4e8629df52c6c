"""Writes one version into every package, its pins of the others included.

python scripts/bump.py 0.2.0

Re-make the environments afterwards (`hatch env prune`): installed metadata keeps the old version.
"""

import re
import sys
from pathlib import Path

PACKAGES = Path(__file__).parents[1] / "packages"


def bump(text: str, version: str) -> str:
    """`text`, a pyproject.toml, with `version` as its own and as that of nanoeval's packages."""
    text, found = re.subn(r'(?m)^version = "[^"]+"$', f'version = "{version}"', text)
    if found != 1:
        raise SystemExit(f"expected one line `version = …`, found {found}")
    return re.sub(r'("nanoeval[\w-]*(?:\[[\w,-]*\])?)==[^";]+', rf"\1=={version}", text)


def main(version: str) -> None:
    if not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version):
        raise SystemExit(f"{version!r} is no version: give one such as 0.2.0 or 0.2.0rc1")
    for file in sorted(PACKAGES.glob("*/pyproject.toml")):
        file.write_text(bump(file.read_text("utf-8"), version), "utf-8")
        print(f"{file.parent.name} {version}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
