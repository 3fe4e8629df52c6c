"""What scoring again asks instead of the model: it gives the replies of a record.

Solvers with a `base_url` are given an endpoint on loopback. Solvers that hold a model, such as
agents, are given a `RecordedModel`, which knows who asks: many tasks may begin with one prompt.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import chz
from nanoeval_core.errors import ConfigError, RequestRejectedError
from nanoeval_core.eval import Eval
from nanoeval_recorder.reading.events import Sampling
from nanoeval_solvers.api_model import APIModel
from nanoeval_solvers.reply import Problem, Reply, ToolCall
from nanoeval_solvers.testing import ModelServer, Request, Scripted

from nanoeval_cli._attempts import counted

MISSING = (
    "this prompt is not in the record. Either the prompts changed since, so the model has to be "
    "asked again (nanoeval run), or the recorded run is incomplete (nanoeval resume finishes it)"
)
Recorded = dict[str, deque[Scripted]]
_REFUSALS = {"context_length": "context_length_exceeded", "content_policy": "content_filter"}


def recorded_replies(path: Path) -> Recorded:
    """Return the replies to each prompt, in the order of the record.

    Raises:
        ConfigError: nothing was recorded that could be replayed.
    """
    replies: Recorded = {}
    for _, sampling, text in _sampled(path):
        replies.setdefault(prompt_key(sampling.prompt), deque()).append(_scripted(text, sampling))
    if not replies:
        raise ConfigError(f"{path} holds no samplings: there are no replies to score again")
    return replies


def _sampled(path: Path) -> Iterator[tuple[str, Sampling, str]]:
    """Yield each reply with the name of its task and the sampling that it is of."""
    for sample in counted(path):
        for sampling in sample.samplings:
            for text in sampling.sampled:
                yield f"{sample.sample_id}.{sample.attempt}", sampling, str(text)


def _scripted(text: str, sampling: Sampling) -> Scripted:
    """Return a recorded reply, with no tokens to count again."""
    reason = str(sampling.get("finish_reason") or "stop")
    if reason in _REFUSALS:
        return Scripted(status=400, text=text, code=_REFUSALS[reason])
    calls = tuple(
        {
            "id": call.get("id"),
            "name": call.get("name"),
            # As the model wrote them, where they could not be read.
            "arguments": call["text"] if call.get("problem") else call.get("arguments") or {},
        }
        for call in sampling.get("tool_calls") or ()
    )
    # A reply without text or tokens would be asked for twice.
    spent = int(not text and bool((sampling.get("usage") or {}).get("completion_tokens")))
    tokens = {"prompt_tokens": 0, "completion_tokens": spent}
    return Scripted(
        text=text,
        finish_reason=reason,
        tool_calls=calls,
        reasoning=sampling.get("reasoning"),
        usage={**tokens, "input_tokens": 0, "output_tokens": spent},
    )


def prompt_key(prompt: Any, *, said: bool = True) -> str:
    """Return a prompt as text, the same for the forms in which the APIs and records have it.

    Args:
        prompt: a text, or the messages of a chat.
        said: with what the model and tools said.
    """
    if not isinstance(prompt, Sequence) or isinstance(prompt, str):
        return str(prompt)
    turns = [_turn(message) for message in prompt if isinstance(message, Mapping)]
    if not said:
        turns = [turn[: 1 if turn[0] in ("assistant", "tool") else 2] for turn in turns]
    return json.dumps(turns)


def _turn(message: Mapping[str, Any]) -> list[Any]:
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(str(p["text"]) for p in content if isinstance(p, dict) and "text" in p)
    calls = [
        [call["id"], call["function"]["name"], call["function"]["arguments"]]
        for call in message.get("tool_calls") or ()
    ]
    role = str(message.get("role")).replace("developer", "system")
    return [role, str(content or ""), calls, message.get("tool_call_id")]


def server_of(replies: Recorded) -> ModelServer:
    """Return a server that gives each prompt its replies in their order, then from the first."""

    def reply(request: Request) -> Scripted:
        found = replies.get(prompt_key(request.messages))
        if found is None:
            return Scripted(status=404, text=MISSING, code="prompt_not_recorded")
        found.rotate(-1)
        return found[-1]

    return ModelServer(reply=reply)


@chz.chz
class RecordedModel(APIModel):
    """Gives each attempt the replies that the record has of it, in their order.

    What tools say may differ from what they said: times and temporary names do.
    """

    replies: Mapping[str, Sequence[tuple[str, Reply]]] = chz.field(
        doc="Name of a task → its prompts without what tools said, and the replies to them."
    )

    positions: dict[str, int] = chz.field(
        default_factory=dict, doc="How many of an attempt's replies it was given."
    )

    async def ask(self, messages: Sequence[Any], *, sample: str, **_: Any) -> Reply:
        name, key = sample.partition(" retry ")[0], prompt_key(messages, said=False)
        replies = self.replies.get(name, ())
        for number in range(self.positions.get(sample, 0), len(replies)):
            if replies[number][0] == key:
                self.positions[sample] = number + 1
                return replies[number][1]
        raise RequestRejectedError(f"task {name!r}: {MISSING}")


def with_recorded_models(eval: Eval[Any, Any], path: Path) -> Eval[Any, Any]:
    """Return an eval whose solver's models give the replies of a record; itself if it has none."""
    solver = getattr(eval, "solver", None)
    models = {
        name: value
        for name in (chz.chz_fields(solver) if chz.is_chz(solver) else ())
        if isinstance(value := getattr(solver, name), APIModel)
    }
    if not models:
        return eval
    replies: dict[str, list[tuple[str, Reply]]] = {}
    for name, sampling, text in _sampled(path):
        asked = prompt_key(sampling.prompt, said=False)
        replies.setdefault(name, []).append((asked, _as_reply(text, sampling)))
    recorded = {
        name: RecordedModel(model=model.model, replies=replies) for name, model in models.items()
    }
    return chz.replace(eval, solver=chz.replace(solver, **recorded))


def _as_reply(text: str, sampling: Sampling) -> Reply:
    reason = str(sampling.get("finish_reason") or "stop")
    calls = tuple(ToolCall(**call) for call in sampling.get("tool_calls") or ())
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments or {})},
            }
            for call in calls
        ]
    return Reply(
        text=text,
        finish_reason=reason,
        problem=cast("Problem", reason) if reason in _REFUSALS else None,
        tool_calls=calls,
        reasoning=sampling.get("reasoning"),
        message=message,
    )
