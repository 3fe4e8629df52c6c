"""`nanoeval rescore`."""

from __future__ import annotations

from pathlib import Path

import chz
import click
from nanoeval_core.errors import ConfigError
from nanoeval_core.metrics.paired import compare
from nanoeval_core.spec import EvalSpec
from nanoeval_recorder.reading.outline import outline_of
from nanoeval_runner import run as run_eval
from nanoeval_runner.results import collecting

from nanoeval_cli._attempts import scores_of
from nanoeval_cli._command import complete_run, json_option, subcommand
from nanoeval_cli._commands.compare_command import show_comparison
from nanoeval_cli._event_loop import run_in_loop
from nanoeval_cli._output import write_json
from nanoeval_cli._replay import recorded_replies, server_of, with_recorded_models
from nanoeval_cli._runs import RunInfo, find_run, record_path
from nanoeval_cli._targets import find_eval_class, make_spec

# What would make replies come from elsewhere, or slowly.
NOT_REPLAYED = ("base_url", "cache", "requests_per_minute", "tokens_per_minute", "prices")


@subcommand("rescore")
@click.argument("run", shell_complete=complete_run)
@click.option("--eval", "target", metavar="EVAL", help="The eval's class, when it has moved.")
@json_option
def command(run: str, target: str | None, as_json: bool, fields: dict[str, str]) -> int:
    """Score a run's recorded replies again, with the eval's code as it is now.

    \b
      nanoeval rescore RUN
      nanoeval rescore RUN --eval my_eval.py:MyEval solver.structured=False

    For a new parser, grader or metric. Nobody is asked: an endpoint on loopback gives the recorded
    replies, so it works for every solver that has a base_url. Agents act again, in new machines,
    as the model had them act. The result is a run of its own.
    Arguments are those of the recorded run unless given here.
    """
    old = find_run(run, recorded=True)
    record = record_path(old)
    with server_of(recorded_replies(record)) as server:
        spec = _spec(old, record, target, fields, server.url)
        with collecting(is_shown=False) as found:
            summary = run_in_loop(run_eval(spec))
    new = find_run(summary["run_id"])
    if as_json:
        write_json({"before": old.summary, "after": summary})
    else:
        show_comparison(old, new, compare(scores_of(old), scores_of(new), common_only=True))
    return found.exit_code()


def _spec(
    old: RunInfo, record: Path, target: str | None, given: dict[str, str], base_url: str
) -> EvalSpec:
    """Return the recorded eval with its recorded arguments, save those given, asking `base_url`."""
    outline = outline_of(record)
    config = outline.started.spec.get("run_config", {}) if outline is not None else {}
    recorded = config.get("eval_spec") or {}
    target = target or recorded.get("cls")
    if not isinstance(target, str) or target.startswith("__main__"):
        raise ConfigError(
            f"run {old.run_id} does not say where its eval is (it was part of a script): "
            "name it, as in --eval my_eval.py:MyEval"
        )
    arguments = {
        path: value if isinstance(value, str) else repr(value)
        for path, value in (recorded.get("args") or {}).items()
        if path.rpartition(".")[2] not in NOT_REPLAYED
    }
    limit = (config.get("runner") or {}).get("args", {}).get("n_tasks")
    if limit is not None:
        arguments["runner.n_tasks"] = str(limit)
    eval_class = find_eval_class(target)
    try:
        spec = make_spec(eval_class, {**arguments, **given, "...base_url": base_url})
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
    return chz.replace(spec, eval=with_recorded_models(spec.eval, record), runner=runner)
