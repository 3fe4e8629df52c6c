"""`nanoeval rescore`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chz
from nanoeval_core.errors import ConfigError
from nanoeval_core.spec import EvalSpec
from nanoeval_recorder.outline import outline_of
from nanoeval_runner import run
from nanoeval_runner.setup import nanoeval_logging, raise_file_limit

from nanoeval_cli._attempts import scores_by_question
from nanoeval_cli._catalogue import RunInfo, find_run, record_path
from nanoeval_cli._command import Parser
from nanoeval_cli._commands.compare_command import show_comparison
from nanoeval_cli._commands.run_command import only_named
from nanoeval_cli._output import describe, write, write_json
from nanoeval_cli._replay import recorded_replies, serve
from nanoeval_cli._targets import find_eval_class, make_spec

USAGE = """Score a run's recorded replies anew, with the eval's code as it is now: a new parser,
grader or metric. Nobody is asked: an endpoint on loopback gives the recorded replies, so it works
for every solver that has a base_url. The result is a run of its own.

  nanoeval rescore RUN
  nanoeval rescore RUN --eval my_eval.py:MyEval solver.structured=False

Arguments are those of the recorded run unless given here."""
# What would make replies come from elsewhere, or slowly.
NOT_REPLAYED = ("base_url", "cache", "requests_per_minute", "tokens_per_minute", "prices")


def main(arguments: Sequence[str]) -> int:
    parser = Parser("rescore", USAGE, usage="nanoeval rescore RUN [name=value …] [options]")
    parser.add_argument("run", help="run id, run set, eval, or a record's path")
    parser.add_argument("--eval", metavar="EVAL", help="the eval's class, when it has moved")
    parser.add_json()
    asked, others = parser.parse_known_args(arguments)
    old = find_run(asked.run)
    record = record_path(old)
    replies = recorded_replies(record)
    with serve(replies) as base_url:
        spec = _spec(old, record, asked.eval, [*only_named(parser, others)], base_url)
        with nanoeval_logging():
            raise_file_limit()
            summary = asyncio.run(run(spec))
    _report(old, record, summary, as_json=asked.json)
    return 0


def _spec(
    old: RunInfo, record: Path, target: str | None, given: list[str], base_url: str
) -> EvalSpec:
    """The recorded eval with its recorded arguments, but for what was given, asking `base_url`."""
    outline = outline_of(record)
    config = outline.started.spec.get("run_config", {}) if outline is not None else {}
    recorded = config.get("eval_spec") or {}
    target = target or recorded.get("cls")
    if not isinstance(target, str) or target.startswith("__main__"):
        raise ConfigError(
            f"run {old.run_id} does not say where its eval is (it was part of a script): "
            "name it, as in --eval my_eval.py:MyEval"
        )
    names = {argument.partition("=")[0] for argument in given}
    arguments = [
        f"{path}={value if isinstance(value, str) else repr(value)}"
        for path, value in (recorded.get("args") or {}).items()
        if path.rpartition(".")[2] not in NOT_REPLAYED and path not in names
    ]
    limit = (config.get("runner") or {}).get("args", {}).get("n_tasks")
    if limit is not None:
        arguments.append(f"runner.n_tasks={limit}")
    eval_class = find_eval_class(target)
    try:
        spec = make_spec(eval_class, [*arguments, *given, f"...base_url={base_url}"])
    except ConfigError as error:
        if "base_url" in str(error):
            raise ConfigError(
                f"{target} has no base_url: its replies do not come from an OpenAI-compatible "
                "endpoint, so recorded ones cannot take their place"
            ) from error
        raise
    runner = chz.replace(
        spec.runner, model_name=old.model or None, eval_set_name=f"rescore of {old.run_id}"
    )
    return chz.replace(spec, runner=runner)


def _report(old: RunInfo, record: Path, summary: dict[str, Any], *, as_json: bool) -> None:
    new = find_run(summary["run_id"])
    if as_json:
        write_json({"before": old.summary, "after": summary})
        return
    before, after = scores_by_question(record), scores_by_question(record_path(new))
    if before and after:
        show_comparison(old, new, before, after)
    else:
        for line in describe(summary):
            write(line)
