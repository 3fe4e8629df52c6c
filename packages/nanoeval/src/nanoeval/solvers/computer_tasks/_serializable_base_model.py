"""Models whose dumps name their class."""

from nanoeval_computer.serialization import SerializableBaseModel

__all__ = [
    "SerializableBaseModel",
]
