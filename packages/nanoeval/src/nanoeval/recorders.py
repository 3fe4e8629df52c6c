"""Recorders to choose from."""

from nanoeval_core.recorder import dummy_recorder
from nanoeval_recorder.json_lines import JsonRecorder, JsonRecorderConfig, json_recorder

__all__ = [
    "JsonRecorder",
    "JsonRecorderConfig",
    "dummy_recorder",
    "json_recorder",
]
