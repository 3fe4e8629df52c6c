"""Limits of a rollout."""

from nanoeval_computer.limits import (
    ActionLimitExceededError,
    LimitsHelper,
    SystemErrorDetected,
    current_timer,
)

__all__ = [
    "ActionLimitExceededError",
    "LimitsHelper",
    "SystemErrorDetected",
    "current_timer",
]
