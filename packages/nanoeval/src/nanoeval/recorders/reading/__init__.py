from typing import TYPE_CHECKING

if not TYPE_CHECKING:
    from nanoeval._lazy import submodules

    __getattr__ = submodules(__name__)
