"""What a solver yields."""

from nanoeval_computer.steps import FinalResult, FinalResultSuccessful, Step

__all__ = [
    "FinalResult",
    "FinalResultSuccessful",
    "Step",
]
