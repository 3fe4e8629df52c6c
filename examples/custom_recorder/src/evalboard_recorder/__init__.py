"""Sends what evals record to a web service: a template for a recorder of your own."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from urllib.request import Request, urlopen

import chz
from nanoeval_core import EvalSpec, RecorderConfig
from nanoeval_core.recorder import current_run_spec
from nanoeval_core.recorder_protocol import BasicRunSpec, RunSpec, View

NO_RUN = BasicRunSpec(run_id="none", run_set_id="none")


class EvalboardRecorder(AbstractContextManager):  # type: ignore[type-arg]
    def __init__(self, url: str, run_spec: RunSpec) -> None:
        self.url, self.run_spec = url.rstrip("/"), run_spec
        self.ids: tuple[str | None, str | None] = (None, None)

    def __exit__(self, *exc: object) -> None:
        self.send("stopped", {})

    def send(self, kind: str, data: Any) -> None:
        event = {"type": kind, "sample_id": self.ids[0], "group_id": self.ids[1], "data": data}
        body = json.dumps(event, default=repr).encode()
        urlopen(Request(self.evalboard_url("run"), body), timeout=5).close()

    @contextmanager
    def as_default_recorder(self, sample_id: str, group_id: str, **extra: Any) -> Iterator[Any]:
        self.ids = (sample_id, group_id)
        yield self
        self.ids = (None, None)

    def current_sample_id(self) -> str | None:
        return self.ids[0]

    def current_group_id(self) -> str | None:
        return self.ids[1]

    def record_match(self, correct: bool, **fields: Any) -> None:
        self.send("match", {"correct": correct, **fields})

    def record_sampling(self, prompt: Any, sampled: Any, **fields: Any) -> None:
        self.send("sampling", {"prompt": prompt, "sampled": sampled, **fields})

    def record_sample_completed(self, **fields: Any) -> None:
        self.send("sample_completed", fields)

    def record_error(self, msg: str, error: Exception | None, **fields: Any) -> None:
        self.send("error", {"message": msg, "error": repr(error), **fields})

    def record_extra(self, data: Any) -> None:
        self.send("extra", data)

    def record_final_report(self, final_report: Any) -> None:
        self.send("final_report", final_report)

    def evalboard_url(self, view: View) -> str:
        return f"{self.url}/runs/{self.run_spec.run_id}?view={view}"


@chz.chz
class EvalboardConfig(RecorderConfig):
    url: str = "http://127.0.0.1:8000"

    async def factory(self, spec: EvalSpec, num_tasks: int) -> EvalboardRecorder:
        return EvalboardRecorder(self.url, current_run_spec() or NO_RUN)
