"""An endpoint on loopback that gives the replies of a record: what scoring anew asks."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from nanoeval_core.errors import ConfigError

from nanoeval_cli._attempts import counted

MISSING = (
    "this prompt is not in the record. Either the prompts changed since, so the model has to be "
    "asked again (nanoeval run), or the recorded run is incomplete (nanoeval resume finishes it)"
)
Recorded = dict[str, deque[tuple[str, str]]]


def recorded_replies(path: Path) -> Recorded:
    """Prompt → the replies to it, each with why it ended, in the order of the record.

    Raises:
        ConfigError: nothing was recorded that could be replayed.
    """
    replies: Recorded = {}
    for sample in counted(path):
        for sampling in sample.samplings:
            reason = str(sampling.get("finish_reason") or "stop")
            for text in sampling.sampled:
                replies.setdefault(prompt_key(sampling.prompt), deque()).append((str(text), reason))
    if not replies:
        raise ConfigError(f"{path} holds no samplings: there are no replies to score anew")
    return replies


def prompt_key(prompt: Any) -> str:
    """A prompt as text, the same for the forms in which the APIs and records have it."""
    if not isinstance(prompt, list):
        return str(prompt)
    turns = [
        (str(turn.get("role")).replace("developer", "system"), _content(turn.get("content")))
        for turn in prompt
        if isinstance(turn, dict)
    ]
    return json.dumps(turns)


def _content(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(str(p["text"]) for p in content if isinstance(p, dict) and "text" in p)
    return str(content)


@contextlib.contextmanager
def serve(replies: Recorded) -> Iterator[str]:
    """Serve `replies` while the block runs; yields the `base_url`.

    Several replies to one prompt are given one after the other, then again from the first.
    """
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = replies.get(prompt_key(body.get("messages") or body.get("input")))
            if found is None:
                self._send(404, {"error": {"message": MISSING, "code": "prompt_not_recorded"}})
                return
            with lock:
                text, reason = found[0]
                found.rotate(-1)
            is_chat = self.path.endswith("/chat/completions")
            self._send(200, (_chat if is_chat else _response)(text, reason, str(body.get("model"))))

        def _send(self, status: int, reply: dict[str, Any]) -> None:
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: requests are no news."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            thread.join()


_NO_TOKENS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def _chat(text: str, reason: str, model: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "replayed",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": _NO_TOKENS,
    }


def _response(text: str, reason: str, model: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {"type": "message", "id": "replayed", "role": "assistant", "content": [part]}
    cut = reason in ("length", "max_output_tokens")
    return {
        "id": "replayed",
        "object": "response",
        "created_at": 0,
        "model": model,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": [{**message, "status": "completed"}],
        "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0},
    }
