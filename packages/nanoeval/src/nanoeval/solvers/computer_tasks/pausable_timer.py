"""A time limit whose clock can be stopped."""

from nanoeval_computer.pausable_timer import (
    NamedTimeoutError,
    PausableTimer,
    pause_all_pausable_timers,
)

__all__ = [
    "NamedTimeoutError",
    "PausableTimer",
    "pause_all_pausable_timers",
]
