"""The current recorder, and what a recorder is."""

from nanoeval_core.recorder import dummy_recorder, get_recorder, set_default_recorder
from nanoeval_core.recorder_base import BaseRecorder
from nanoeval_core.recorder_protocol import RecorderConfig, RecorderProtocol

__all__ = [
    "BaseRecorder",
    "RecorderConfig",
    "RecorderProtocol",
    "dummy_recorder",
    "get_recorder",
    "set_default_recorder",
]
