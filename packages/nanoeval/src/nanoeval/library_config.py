"""The hooks a team changes once for all its evals."""

from nanoeval_core.library_config import LibraryConfig, get_library_config, set_library_config

__all__ = [
    "LibraryConfig",
    "get_library_config",
    "set_library_config",
]
