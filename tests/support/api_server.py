"""A real HTTP server on loopback that speaks enough of the OpenAI API to be asked questions."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "the-right-key"
MODEL = "test-model"


class ApiServer(ThreadingHTTPServer):
    """Knows one key and one model, and replies with what `reply` makes of the last message."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, reply: Callable[[str], str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply = reply
        self.requests: list[dict[str, Any]] = []

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ApiServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self._refuse(401, "invalid_api_key", "Incorrect API key provided.")
        elif body["model"] != MODEL:
            self._refuse(404, "model_not_found", f"The model `{body['model']}` does not exist.")
        else:
            text = self.server.reply(body["messages"][-1]["content"])
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
            self._send(
                200,
                {
                    "id": "chatcmpl-1",
                    "object": "chat.completion",
                    "created": 1,
                    "model": MODEL,
                    "choices": [choice],
                    "usage": usage,
                },
            )

    def _refuse(self, status: int, code: str, message: str) -> None:
        error = {"message": message, "type": "invalid_request_error", "code": code, "param": None}
        self._send(status, {"error": error})

    def _send(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(reply: Callable[[str], str] = lambda prompt: "Answer: A") -> Iterator[ApiServer]:
    with ApiServer(reply) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
