"""evallib (the `evals` package), both ways: nanoevals in its registry, its samples as nanoevals."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nanoeval_recorder.evallib_eval import EvallibEval as EvallibEval
    from nanoeval_recorder.evallib_eval import EvallibSample as EvallibSample
    from nanoeval_recorder.evallib_eval import complete as complete
    from nanoeval_recorder.evallib_eval import current_sample as current_sample

__all__ = ["EvallibEval", "EvallibSample", "complete", "current_sample"]

_NEED_EVALS = frozenset({"EvallibEval", "EvallibSample", "complete", "current_sample"})

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _NEED_EVALS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            from nanoeval_recorder import evallib_eval  # noqa: PLC0415  imports evals
        except ModuleNotFoundError as error:
            if error.name != "evals":
                raise
            raise ImportError(
                f"nanoeval.evallib.{name} needs the evals package: "
                "`pip install --no-deps evals==3.0.1.post1`, and what its README lists"
            ) from error
        return getattr(evallib_eval, name)
