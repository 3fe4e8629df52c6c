from typing import TYPE_CHECKING

from nanoeval_core.recorder import dummy_recorder as dummy_recorder
from nanoeval_recorder import *
from nanoeval_recorder.json_lines import *

if not TYPE_CHECKING:
    from nanoeval._lazy import submodules

    __getattr__ = submodules(__name__)
