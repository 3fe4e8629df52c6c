"""Scores the replies of a record of `SamplesEval` with the published package's own evals.

Runs where that package is installed: `python -m tests.support.score_with_evals RECORD`.
"""

from __future__ import annotations

import json
import logging
import random
import sys
from pathlib import Path
from typing import Any


class Replies:
    """A completion function that replies what it is told to."""

    def __init__(self) -> None:
        self.reply = ""

    def __call__(self, prompt: Any, **params: Any) -> Replies:
        return self

    def get_completions(self) -> list[str]:
        return [self.reply]


def main() -> None:
    from evals.base import RunSpec
    from evals.record import LocalRecorder
    from evals.registry import Registry
    from nanoeval_recorder import read, samples

    logging.disable()
    path = Path(sys.argv[1])
    name = next(read(path)).data["eval_name"]
    registry = Registry()
    entry = registry.get_eval(name)
    replies = Replies()
    eval = registry.get_class(entry)(
        completion_fns=[replies],
        name=name,
        eval_registry_path=entry.registry_path,
        registry=registry,
    )
    recorder = LocalRecorder(None, RunSpec(["x"], name, name.split(".")[0], "dev", {}, ""))
    questions = eval.get_samples()
    for sample in samples(path):
        replies.reply = sample.samplings[-1].sampled[0]
        with recorder.as_default_recorder(sample.sample_id):
            eval.eval_sample(questions[int(sample.sample_id.rsplit(".", 1)[1])], random.Random(0))
    scores = {event.sample_id: event.data["correct"] for event in recorder.get_events("match")}
    recorder._written_events = len(recorder._events)  # it would write them to no file at exit
    print(json.dumps(scores))


if __name__ == "__main__":
    main()
