"""A recorder for MLflow: one MLflow run for each run of an eval.

Parameters are the eval's arguments, metrics the matches as they come in and the final report's
numbers, artifacts the spec and the report. Needs the extra `nanoeval-recorder[mlflow]`; without a
server, `tracking_uri` is a folder. It is the pattern for such boards: a `BaseRecorder`, called in
the driver with what finished attempts recorded.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlparse

import chz
from nanoeval_core.errors import RecorderError
from nanoeval_core.json_values import json_value
from nanoeval_core.recorder_protocol import RecorderConfig, RunSpec, View
from nanoeval_core.recording import BaseRecorder

from nanoeval_recorder._description import describe_run

if TYPE_CHECKING:
    from nanoeval_core.spec import EvalSpec

__all__ = ["MLflowRecorder", "MLflowRecorderConfig", "mlflow_recorder"]

MATCHES_A_POINT = 100  # matches between two points of the running accuracy
MAX_PARAM = 500  # characters of a parameter: what file stores and servers both take
RUN_TAG = "nanoeval.run_id"


class MLflowRecorder(BaseRecorder):
    """Records one run. Made by `mlflow_recorder().factory`.

    A run that is resumed goes on in the MLflow run that it began.
    """

    def __init__(
        self, run_spec: RunSpec, client: Any, experiment: str, spec: Mapping[str, Any]
    ) -> None:
        super().__init__(run_spec)
        self._client = client
        self._experiment = experiment
        self._spec = dict(spec)
        self._run: Any = None
        self._matches = self._correct = self._errors = 0
        self._finished = False

    def __enter__(self) -> Self:
        known = self._client.get_experiment_by_name(self._experiment)
        experiment = (
            known.experiment_id if known else self._client.create_experiment(self._experiment)
        )
        where = f"tags.`{RUN_TAG}` = '{self.run_spec.run_id}'"
        earlier = self._client.search_runs([experiment], filter_string=where)
        if earlier:
            self._run = earlier[0]
            self._client.update_run(self._run.info.run_id, status="RUNNING")
            metrics = self._run.data.metrics
            self._matches = int(metrics.get("matches", 0))
            self._correct = round(metrics.get("match_accuracy", 0.0) * self._matches)
            self._errors = int(metrics.get("errors", 0))
            return self
        config = self._spec.get("run_config") or {}
        git = config.get("git") or {}
        tags = {
            RUN_TAG: self.run_spec.run_id,
            "nanoeval.run_set_id": self.run_spec.run_set_id,
            "nanoeval.dirty": git.get("dirty"),
            "mlflow.source.git.commit": git.get("commit"),
            "mlflow.user": self._spec.get("created_by"),
        }
        tags = {name: str(value) for name, value in tags.items() if value not in (None, "")}
        self._run = self._client.create_run(
            experiment, tags=tags, run_name=str(self._spec.get("eval_name"))
        )
        run_id = self._run.info.run_id
        params = {"model": (self._spec.get("completion_fns") or [None])[0]}
        for part in ("eval_spec", "runner"):
            arguments = (config.get(part) or {}).get("args") or {}
            params |= {f"{part.removesuffix('_spec')}.{name}": v for name, v in arguments.items()}
        for name, value in params.items():
            self._client.log_param(run_id, _name(name), str(value)[:MAX_PARAM])
        self._client.log_dict(run_id, self._spec, "spec.json")
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc: Any) -> None:
        self._point()
        status = "FINISHED" if self._finished else "FAILED" if exc_type is not None else "KILLED"
        self._client.set_terminated(self._run.info.run_id, status)

    def record_event(self, event_type: str, data: Any) -> None:
        """Count it. Samplings are not kept: MLflow is for numbers; `tee` it with a file."""
        if event_type == "error":
            self._errors += 1
        elif event_type == "match":
            self._matches += 1
            self._correct += bool(data["correct"])
            if self._matches % MATCHES_A_POINT == 0:
                self._point()

    def _point(self) -> None:
        counts: dict[str, float] = {"matches": self._matches, "errors": self._errors}
        if self._matches:
            counts["match_accuracy"] = self._correct / self._matches
        self._log(counts)

    def record_final_report(self, final_report: Any) -> None:
        report = json_value(final_report)
        self._log(dict(_numbers(report)))
        self._client.log_dict(self._run.info.run_id, report, "final_report.json")
        self._finished = True

    def _log(self, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._client.log_metric(
                self._run.info.run_id, _name(name), float(value), step=self._matches
            )

    def evalboard_url(self, view: View) -> str | None:
        uri = str(self._client.tracking_uri)
        if self._run is None or urlparse(uri).scheme not in ("http", "https"):
            return None
        info = self._run.info
        return f"{uri.rstrip('/')}/#/experiments/{info.experiment_id}/runs/{info.run_id}"


def _numbers(report: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers in a report, by their path; a list's by their place."""
    if isinstance(report, (dict, list)):
        for name, value in report.items() if isinstance(report, dict) else enumerate(report):
            yield from _numbers(value, f"{path}.{name}" if path else str(name))
    elif isinstance(report, (int, float)) and math.isfinite(report):
        yield path, float(report)


def _name(name: str) -> str:
    """Return `name` in the letters that MLflow allows."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-./ ") else "_" for c in name)[:250]


@chz.chz
class MLflowRecorderConfig(RecorderConfig):
    """Builds `MLflowRecorder`s."""

    tracking_uri: str | None = chz.field(
        default=None, doc="A server or a folder; by default MLFLOW_TRACKING_URI, else ./mlruns."
    )
    experiment: str | None = chz.field(
        default=None, doc="The experiment; by default the eval's name."
    )

    async def factory(self, spec: EvalSpec, num_tasks: int) -> MLflowRecorder:
        run_spec = self._make_default_run_spec(spec)
        described = await describe_run(spec, run_spec, num_tasks)
        experiment = self.experiment or described["eval_name"]
        return MLflowRecorder(run_spec, self._client(), experiment, described)

    def _client(self) -> Any:
        uri = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or "./mlruns"
        if urlparse(uri).scheme in ("", "file"):
            uri = uri if uri.startswith("file:") else Path(uri).expanduser().absolute().as_uri()
            # MLflow wants it confirmed that a folder is meant; a folder was given, so it is.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        try:
            tracking = importlib.import_module("mlflow.tracking")
        except ImportError as error:
            raise RecorderError(
                "recording to MLflow needs it: `pip install 'nanoeval-recorder[mlflow]'`"
            ) from error
        return tracking.MlflowClient(tracking_uri=uri)


def mlflow_recorder(
    tracking_uri: str | None = None, experiment: str | None = None
) -> MLflowRecorderConfig:
    """Record runs to MLflow: `tee(evallib_recorder(), mlflow_recorder("./mlruns"))`."""
    return MLflowRecorderConfig(tracking_uri=tracking_uri, experiment=experiment)
