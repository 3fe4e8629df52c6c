"""Metrics of evals that score attempts right or wrong."""

from nanoeval_core.metrics.standard import (
    compute_default_metrics,
    compute_default_metrics_on_correctness_without_answer_groups,
    handle_system_errors_and_compute_metrics,
)

__all__ = [
    "compute_default_metrics",
    "compute_default_metrics_on_correctness_without_answer_groups",
    "handle_system_errors_and_compute_metrics",
]
