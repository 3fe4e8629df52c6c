"""Computer tasks: interfaces, runtimes, agents. Published classes bear these module paths."""

from typing import TYPE_CHECKING

from nanoeval_computer.serialization import bear_published_paths

bear_published_paths(__name__)

if not TYPE_CHECKING:
    from nanoeval._lazy import submodules

    __getattr__ = submodules(__name__)
