"""Models whose older dumps are migrated."""

from nanoeval_computer.serialization import Migration, VersionedModel

__all__ = [
    "Migration",
    "VersionedModel",
]
