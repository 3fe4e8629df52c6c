"""Small async helpers that evals and solvers share."""

from nanoeval_core.asyncio_utils import (
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
