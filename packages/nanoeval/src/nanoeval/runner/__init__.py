from typing import TYPE_CHECKING

from nanoeval_runner import *

if not TYPE_CHECKING:
    from nanoeval._lazy import submodules

    __getattr__ = submodules(__name__)
