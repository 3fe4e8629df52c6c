"""Small async helpers that evals and solvers share."""

from nanoeval_core.async_tools import (
    HasAsyncContextManager,
    HasAsyncContextManagerWithValue,
    cancel_task,
    gather_with_concurrency,
    generator_with_cleanup,
)

__all__ = [
    "HasAsyncContextManager",
    "HasAsyncContextManagerWithValue",
    "cancel_task",
    "gather_with_concurrency",
    "generator_with_cleanup",
]
