"""Sends what evals record to a web service: a template for a recorder of your own."""

import json
from typing import Any
from urllib.request import Request, urlopen

import chz
from nanoeval_core import BaseRecorder, EvalSpec, RecorderConfig
from nanoeval_core.recorder_protocol import View


class EvalboardRecorder(BaseRecorder):
    """Called in the driver, on a thread of its own, with what finished attempts recorded.

    It may be slow, raise or hang: that is reported once, and costs the run nothing.
    """

    def __init__(self, url: str) -> None:
        super().__init__()  # with the ids of the run that is beginning
        self.url = url.rstrip("/")

    def __exit__(self, *exc: object) -> None:
        self.record_event("stopped", {})

    def record_event(self, event_type: str, data: Any) -> None:
        event = {"type": event_type, "data": data}
        event |= {"sample_id": self.current_sample_id(), "group_id": self.current_group_id()}
        body = json.dumps(event, default=repr).encode()
        urlopen(Request(self.evalboard_url("run"), body), timeout=5).close()

    def evalboard_url(self, view: View) -> str:
        return f"{self.url}/runs/{self.run_spec.run_id}?view={view}"


@chz.chz
class EvalboardConfig(RecorderConfig):
    """`runner.recorder=evalboard runner.recorder.url=https://boards.example`."""

    url: str = "http://127.0.0.1:8000"

    async def factory(self, spec: EvalSpec, num_tasks: int) -> EvalboardRecorder:
        return EvalboardRecorder(self.url)
