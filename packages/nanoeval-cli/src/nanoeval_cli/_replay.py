"""An endpoint on loopback that gives the replies of a record: what scoring again asks."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nanoeval_core.errors import ConfigError
from nanoeval_solvers.testing import ModelServer, Request, Scripted

from nanoeval_cli._attempts import counted

MISSING = (
    "this prompt is not in the record. Either the prompts changed since, so the model has to be "
    "asked again (nanoeval run), or the recorded run is incomplete (nanoeval resume finishes it)"
)
Recorded = dict[str, deque[Scripted]]
_REFUSALS = {"context_length": "context_length_exceeded", "content_policy": "content_filter"}


def recorded_replies(path: Path) -> Recorded:
    """Prompt → the replies to it, in the order of the record.

    Raises:
        ConfigError: nothing was recorded that could be replayed.
    """
    replies: Recorded = {}
    for sample in counted(path):
        for sampling in sample.samplings:
            for text in sampling.sampled:
                key = prompt_key(sampling.prompt)
                replies.setdefault(key, deque()).append(_scripted(str(text), sampling))
    if not replies:
        raise ConfigError(f"{path} holds no samplings: there are no replies to score again")
    return replies


def _scripted(text: str, sampling: Any) -> Scripted:
    """A recorded reply, with no tokens to count again."""
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


def prompt_key(prompt: Any) -> str:
    """A prompt as text, the same for the forms in which the APIs and records have it."""
    if not isinstance(prompt, Sequence) or isinstance(prompt, str):
        return str(prompt)
    return json.dumps([_turn(message) for message in prompt if isinstance(message, Mapping)])


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


@contextmanager
def serve(replies: Recorded) -> Iterator[str]:
    """Serve `replies` while the block runs; yields the `base_url`.

    Several replies to one prompt are given one after the other, then again from the first.
    """

    def reply(request: Request) -> Scripted:
        found = replies.get(prompt_key(request.messages))
        if found is None:
            return Scripted(status=404, text=MISSING, code="prompt_not_recorded")
        found.rotate(-1)
        return found[-1]

    with ModelServer(reply=reply) as server:
        yield server.url
