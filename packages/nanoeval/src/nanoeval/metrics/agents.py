"""Summaries of evals whose attempts may end in system errors."""

from nanoeval_core.metrics.agents import get_summary_error_aware

__all__ = [
    "get_summary_error_aware",
]
