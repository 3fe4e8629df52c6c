"""Multiple choice over an OpenAI-compatible API."""

from nanoeval_solvers.mcq_api import OpenAIAPIMCQSolver

__all__ = [
    "OpenAIAPIMCQSolver",
]
