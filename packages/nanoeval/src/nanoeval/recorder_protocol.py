"""What a recorder is, to those who write one."""

from nanoeval_core.recorder_protocol import BasicRunSpec, RecorderConfig, RecorderProtocol, RunSpec

__all__ = [
    "BasicRunSpec",
    "RecorderConfig",
    "RecorderProtocol",
    "RunSpec",
]
