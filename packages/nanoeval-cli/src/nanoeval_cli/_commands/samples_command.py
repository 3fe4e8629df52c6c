"""`nanoeval samples`."""

from __future__ import annotations

import itertools
import json
import textwrap
from collections import Counter
from collections.abc import Iterator
from typing import Any

import click
from nanoeval_core.words import AttemptState
from nanoeval_recorder.reading.events import Event, Extra
from nanoeval_recorder.reading.sample import RecordedSample
from nanoeval_recorder.reading.scores import score_of

from nanoeval_cli._attempts import counted, match_of, verdict_of
from nanoeval_cli._command import complete_run, json_option, positive, subcommand
from nanoeval_cli._output import bold, note, terminal_width, write_json, write_pages
from nanoeval_cli._runs import find_run, record_path

WANTED: dict[str, tuple[AttemptState, ...]] = {
    "wrong": ("wrong", "partly right", "unparsable", "refused"),
    "right": ("right",),
    "unparsable": ("unparsable",),
    "refused": ("refused",),
    "errors": ("error", "lost"),
}
MARKS = ("picked", "expected")


@subcommand("samples")
@click.argument("run", required=False, shell_complete=complete_run)
@click.option("--wrong", is_flag=True, help="Only those answered wrong.")
@click.option("--right", is_flag=True, help="Only those answered right.")
@click.option("--unparsable", is_flag=True, help="Only replies without an answer.")
@click.option("--refused", is_flag=True, help="Only those that the endpoint refused.")
@click.option("--errors", is_flag=True, help="Only those that ended in an error.")
@click.option("-q", "--question", metavar="ID", help="Only this question.")
@click.option("--grep", metavar="TEXT", help="Only those with TEXT in prompt or reply.")
@click.option("-n", "--limit", type=positive, help="At most so many.")
@json_option
def command(
    *,
    run: str | None,
    question: str | None,
    grep: str | None,
    limit: int | None,
    as_json: bool,
    **kinds: bool,
) -> int:
    """Page through what a run asked, what came back, and the verdicts."""
    chosen = [verdict for name, verdicts in WANTED.items() if kinds[name] for verdict in verdicts]
    record = record_path(find_run(run, recorded=True))
    found = (
        sample
        for sample in counted(record)
        if (not chosen or verdict_of(sample) in chosen)
        and question in (None, sample.sample_id)
        and (grep is None or grep.lower() in _all_text(sample).lower())
    )
    limited = itertools.islice(found, limit)
    if as_json:
        write_json([_as_dict(sample) for sample in limited])
        return 0
    first = next(limited, None)
    if first is not None:
        write_pages(line for one in itertools.chain([first], limited) for line in _shown(one))
    else:
        verdicts = Counter(map(verdict_of, counted(record)))
        if not verdicts:
            note("no samples: what this run recorded is of no attempt. Its result: nanoeval show")
        elif chosen and verdicts["no match"]:
            unsaid = f"{verdicts['no match']:,} attempts recorded no match"
            note(f"no samples like that: {unsaid}, so it is not known whether they are right")
        else:
            note("no samples like that")
    return 0


def _all_text(sample: RecordedSample) -> str:
    return "\n".join(f"{s.prompt}\n{s.sampled}\n{s.get('tool_calls')}" for s in sample.samplings)


def _as_dict(sample: RecordedSample) -> dict[str, Any]:
    match = match_of(sample) or {}
    return {
        "question_id": sample.sample_id,
        "attempt": sample.attempt,
        "retry": sample.retry,
        "verdict": verdict_of(sample),
        "score": score_of(match.get("score"), match.get("correct")),
        **{name: match.get(name) for name in ("picked", "expected", "question", "choices")},
        "samplings": [
            {"prompt": s.prompt, "sampled": s.sampled}
            | ({"tool_calls": s.get("tool_calls")} if s.get("tool_calls") else {})
            for s in sample.samplings
        ],
        "errors": [{"type": e.error_type, "message": e.message} for e in sample.errors],
    }


def _shown(sample: RecordedSample) -> Iterator[str]:
    match = match_of(sample)
    parts = [sample.sample_id, f"attempt {sample.attempt}", verdict_of(sample)]
    if match is not None:
        parts += [f"{what} {_text(match.get(what))}" for what in MARKS]
    yield bold("── " + " · ".join(clean(part) for part in parts))
    before: Any = None
    for sampling in sample.samplings:
        yield from _block(*_prompt(sampling.prompt, before))
        for reply in sampling.sampled:
            text, calls = _text(reply), _calls(sampling.get("tool_calls"))
            yield from _block("reply", f"{text}\n{calls}" if text and calls else text or calls)
        before = sampling.prompt
    for event in sample.events:
        if isinstance(event, Extra) and event.get("type") == "final_result_successful":
            yield from _block(*_result(event))
    if match is not None and isinstance(match.get("choices"), dict):
        yield from _block("choices", "\n".join(_marked(match)))
    for error in sample.errors:
        yield from _block("error", f"{error.error_type}: {error.message}")
    yield ""


def _result(result: Event) -> tuple[str, str]:
    """Return how a rollout ended, and what the grader said."""
    title = f"result, {result.get('ended')}" if result.get("ended") else "result"
    if result.get("limit") is not None:
        title += f" ({result.get('used'):g} of {result.get('limit'):g})"
    return title, _text((result.get("grade") or {}).get("grader_log"))


def _prompt(prompt: Any, before: Any) -> tuple[str, str]:
    """Return a title, and a prompt as text: a chat's messages each with its role.

    Of a chat that goes on where the one `before` ended, only what is new is shown.
    """
    if not (isinstance(prompt, list) and all(isinstance(m, dict) and "role" in m for m in prompt)):
        return "prompt", _text(prompt)
    title, new = "prompt", prompt
    if isinstance(before, list) and before and prompt[: len(before)] == before:
        title, new = f"prompt, after the {len(before)} messages before", prompt[len(before) :]
        if len(new) > 1 and new[0]["role"] == "assistant":  # shown as the reply just now
            new = new[1:]
    return title, "\n".join(_message(message) for message in new)


def _message(message: dict[str, Any]) -> str:
    content, calls = message.get("content"), _calls(message.get("tool_calls"))
    said = "" if calls and not content else _text(content)
    return f"[{message['role']}] " + "\n".join(filter(None, (said, calls)))


def _calls(calls: Any) -> str:
    """Return calls of tools, as a chat or a record has them, one a line."""
    lines = []
    for call in calls or ():
        asked = call.get("function") or call
        arguments = asked.get("arguments")
        if arguments is None:
            arguments = asked.get("text")
        lines.append(f"calls {asked.get('name')} {_text(arguments)}")
    return "\n".join(lines)


def _marked(match: dict[str, Any]) -> Iterator[str]:
    """Yield the choices by letter, the picked and the right ones marked."""
    for letter, text in match["choices"].items():
        notes = [what for what in MARKS if letter in _list(match.get(what))]
        yield f"{letter}. {_text(text)}" + (f"  ({', '.join(notes)})" if notes else "")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    if value is None:
        return "nothing"
    if (
        isinstance(value, list)
        and value
        and all(isinstance(p, dict) and "type" in p for p in value)
    ):
        return "\n".join(str(part.get("text") or f"[{part['type']}]") for part in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _block(title: str, text: str) -> Iterator[str]:
    yield f"  {title}"
    width = max(20, (terminal_width() or 1 << 31) - 4)
    wrapper = textwrap.TextWrapper(width, replace_whitespace=False, drop_whitespace=False)
    for line in clean(text).split("\n"):
        for part in wrapper.wrap(line) if len(line) > width else [line]:
            yield f"    {part}".rstrip()


def clean(text: str) -> str:
    """Return `text` without what a terminal would obey: escape sequences, carriage returns."""
    kept = (c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)
    return "".join(kept)
