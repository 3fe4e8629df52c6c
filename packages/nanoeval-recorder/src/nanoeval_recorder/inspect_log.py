"""Turns a record into a log of Inspect, which `inspect view` opens.

python -m nanoeval.recorders.inspect_log RECORD [LOG.eval | LOG.json]

Needs the extra `nanoeval-recorder[inspect]`. A log is built in memory, with all samples of a run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

try:
    from inspect_ai import event as event_types
    from inspect_ai import log as logs
    from inspect_ai import model as models
    from inspect_ai import scorer as scorers

    from nanoeval_recorder._inspect_messages import ChatConverter, text_of
except ImportError as error:
    raise ImportError(
        "exporting to Inspect needs inspect-ai: `pip install 'nanoeval-recorder[inspect]'`"
    ) from error

from nanoeval_core.errors import RecorderError

from nanoeval_recorder.folder import split_name
from nanoeval_recorder.reading.events import (
    ErrorEvent,
    Event,
    Match,
    Metrics,
    RecordedFile,
    Sampling,
)
from nanoeval_recorder.reading.run_report import Report, report
from nanoeval_recorder.reading.sample import RecordedSample, samples

__all__ = ["inspect_log", "write_inspect_log"]

SCORER = "match"


def write_inspect_log(record: str | Path, log: str | Path | None = None) -> Path:
    """Write the run recorded at `record` as a log of Inspect and return the log's path.

    Args:
        record: a record, or a folder with one.
        log: the file to write, ending in `.eval` or `.json`; by default next to the record.

    Raises:
        RecorderError: `record` is not a record, or holds several runs.
    """
    of_run = report(record)
    path = Path(log or of_run.path.with_name(f"{split_name(of_run.path)[0]}.eval"))
    logs.write_eval_log(inspect_log(of_run), str(path))
    return path


def inspect_log(of_run: Report) -> logs.EvalLog:
    """Return the log of Inspect for a run's report, with its samples read from the record."""
    retries: dict[tuple[str, int], list[RecordedSample]] = {}
    for sample in samples(of_run.path):
        retries.setdefault((sample.sample_id, sample.attempt), []).append(sample)
    attempts = [sorted(tries, key=lambda one: one.retry) for tries in retries.values()]
    model = str((of_run.spec.get("completion_fns") or ["unknown"])[0])
    chats = ChatConverter(event for tries in attempts for one in tries for event in one.events)
    counted = [tries[-1] for tries in attempts]
    return logs.EvalLog(
        status="success" if of_run.is_complete else "cancelled",
        eval=_spec(of_run, counted, model),
        results=_results(of_run, counted),
        stats=_stats(of_run, counted, model),
        samples=[_sample(last, earlier, model, chats) for *earlier, last in attempts],
    )


def _spec(of_run: Report, attempts: list[RecordedSample], model: str) -> logs.EvalSpec:
    spec = of_run.spec
    config = spec.get("run_config") or {}
    git = config.get("git") or {}
    name = str(spec.get("eval_name") or "unknown")
    run_id = str(of_run.run_id or "")
    ids = list(dict.fromkeys(attempt.sample_id for attempt in attempts))
    times = (event.created_at for attempt in attempts for event in attempt.events[:1])
    created = spec.get("created_at") or next(filter(None, times), "1970-01-01T00:00:00+00:00")
    revision = None
    if git.get("commit"):
        revision = logs.EvalRevision(
            type="git", origin="", commit=git["commit"], dirty=bool(git.get("dirty"))
        )
    return logs.EvalSpec(
        eval_id=run_id,
        run_id=run_id,
        task_id=run_id,
        created=str(created),
        task=name,
        task_args=(config.get("eval_spec") or {}).get("args") or {},
        dataset=logs.EvalDataset(name=name, samples=len(ids), sample_ids=ids),
        model=model,
        config=logs.EvalConfig(epochs=max((attempt.attempt for attempt in attempts), default=1)),
        revision=revision,
        packages=config.get("packages") or {},
        metadata=config or None,
    )


def _results(of_run: Report, attempts: list[RecordedSample]) -> logs.EvalResults:
    numbers = {
        name: value
        for name, value in of_run.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    # Inspect shows the first metric, and the one called stderr as its error.
    first = {"accuracy": numbers.pop("accuracy", of_run.accuracy)}
    first["stderr"] = numbers.pop("accuracy_stderr", None)
    metrics = {
        name: logs.EvalMetric(name=name, value=value)
        for name, value in (first | numbers).items()
        if value is not None
    }
    return logs.EvalResults(
        total_samples=len(attempts),
        completed_samples=sum(attempt.match is not None for attempt in attempts),
        scores=[logs.EvalScore(name=SCORER, scorer=SCORER, metrics=metrics)] if metrics else [],
        metadata={"final_report": of_run.final_report},
    )


def _stats(of_run: Report, attempts: list[RecordedSample], model: str) -> logs.EvalStats:
    times = sorted(
        event.created_at for attempt in attempts for event in attempt.events if event.created_at
    )
    started = str(of_run.spec.get("created_at") or (times[0] if times else ""))
    return logs.EvalStats(
        started_at=started,
        completed_at=times[-1] if times else started,
        model_usage={model: _usage(attempts)},
    )


def _usage(attempts: Iterable[RecordedSample]) -> models.ModelUsage:
    total = models.ModelUsage()
    for sampling in (sampling for attempt in attempts for sampling in attempt.samplings):
        usage = sampling.get("usage")
        if isinstance(usage, dict):
            tokens = [usage.get(f"{kind}_tokens") or 0 for kind in ("prompt", "completion")]
            total += models.ModelUsage(
                input_tokens=tokens[0], output_tokens=tokens[1], total_tokens=sum(tokens)
            )
    return total


def _sample(
    attempt: RecordedSample, retries: list[RecordedSample], model: str, chats: ChatConverter
) -> logs.EvalSample:
    last = attempt.samplings[-1] if attempt.samplings else None
    asked = chats.prompt(last.prompt) if last is not None else []
    reply = chats.reply(last) if last is not None else None
    match = attempt.match or Match()
    expected, choices = match.expected, match.get("choices")
    error = attempt.errors[-1] if attempt.match is None and attempt.errors else None
    times = [event.created_at for event in attempt.events if event.created_at]
    return logs.EvalSample(
        id=attempt.sample_id,
        epoch=attempt.attempt,
        input=chats.prompt(attempt.samplings[0].prompt) if last is not None else "",
        choices=[text_of(one) for one in choices.values()] if isinstance(choices, dict) else None,
        target=[text_of(one) for one in expected]
        if isinstance(expected, list)
        else text_of("" if expected is None else expected),
        messages=[*asked, reply] if reply is not None else [],
        output=_output(model, reply) if reply is not None else models.ModelOutput(),
        scores=_scores(attempt.match),
        metadata=_metadata(attempt, retries),
        events=list(_events(attempt.events, model, chats)),
        model_usage={model: _usage([attempt])},
        started_at=times[0] if times else None,
        completed_at=times[-1] if times else None,
        error=_error(error) if error is not None else None,
    )


def _output(model: str, reply: models.ChatMessageAssistant) -> models.ModelOutput:
    stopped: Any = "tool_calls" if reply.tool_calls else "stop"
    choice = models.ChatCompletionChoice(message=reply, stop_reason=stopped)
    return models.ModelOutput(model=model, choices=[choice])


def _scores(match: Match | None) -> dict[str, scorers.Score] | None:
    if match is None:
        return None
    fields = match.data if isinstance(match.data, dict) else {}
    rest = {k: v for k, v in fields.items() if k not in ("correct", "expected", "picked")}
    return {
        SCORER: scorers.Score(
            value="C" if match.correct else "I",
            answer=None if match.picked is None else text_of(match.picked),
            metadata=rest or None,
        )
    }


def _metadata(attempt: RecordedSample, retries: list[RecordedSample]) -> dict[str, Any]:
    metrics = [
        event.data
        for event in attempt.events
        if isinstance(event, Metrics) and event.data != {"completed": True}
    ]
    found: dict[str, Any] = {"metrics": metrics} if metrics else {}
    if attempt.retry:
        found["retry"] = attempt.retry
    if retries:
        found["earlier"] = [[error.message for error in retry.errors] for retry in retries]
    return found


def _events(
    events: Iterable[Event], model: str, chats: ChatConverter
) -> Iterator[event_types.Event]:
    """Yield calls of the model, the tools called between them, and what else was recorded."""
    calls: dict[str, Any] = {}
    for event in events:
        at: dict[str, Any] = {"timestamp": event.created_at} if event.created_at else {}
        if isinstance(event, Sampling):
            asked, reply = chats.prompt(event.prompt), chats.reply(event)
            seconds = event.get("seconds")
            for message in asked:
                called = message.role == "tool" and calls.pop(message.tool_call_id or "", None)
                if called:
                    yield event_types.ToolEvent(
                        id=called.id,
                        function=called.function,
                        arguments=called.arguments,
                        result=message.text,
                        **at,
                    )
            calls |= {call.id: call for call in reply.tool_calls or ()}
            yield event_types.ModelEvent(
                model=str(event.get("model") or model),
                input=asked,
                tools=[],
                tool_choice="auto" if calls else "none",
                config=models.GenerateConfig(),
                output=_output(model, reply),
                working_time=float(seconds) if isinstance(seconds, (int, float)) else None,
                **at,
            )
        elif isinstance(event, ErrorEvent):
            yield event_types.ErrorEvent(error=_error(event), **at)
        elif not isinstance(event, RecordedFile) and event.data != {"completed": True}:
            yield event_types.InfoEvent(source=event.type, data=event.data, **at)


def _error(event: ErrorEvent) -> logs.EvalError:
    message = f"{event.error_type}: {event.message}" if event.error_type else str(event.message)
    return logs.EvalError(message=message, traceback="", traceback_ansi="")


def main(arguments: list[str]) -> None:
    if not 1 <= len(arguments) <= 2 or arguments[0].startswith("-"):
        raise SystemExit((__doc__ or "").partition("\n\n")[2].partition("\n\n")[0])
    try:
        print(write_inspect_log(*arguments))  # noqa: T201  a command's output
    except (OSError, ValueError, RecorderError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main(sys.argv[1:])
