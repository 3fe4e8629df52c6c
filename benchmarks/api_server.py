"""A fast model endpoint for benchmarks, in a process of its own: `python api_server.py`.

It prints its port. Each chat completion is served after `latency` seconds; calls beyond `rate` per
second (a token bucket that holds a tenth of a second) or beyond `in_flight` at once are refused
with 429 at once. `GET /set?rate=50` changes a setting, `GET /stats` gives the counters and starts
them again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import cast
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

BODY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Let me think. It is so.\n\nAnswer: A"},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 90, "completion_tokens": 12, "total_tokens": 102},
    }
).encode()
REFUSAL = json.dumps(
    {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}
).encode()


def http(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


SERVED, REFUSED = http("200 OK", BODY), http("429 Too Many Requests", REFUSAL)


class Endpoint:
    """The settings and the counters of the server."""

    def __init__(self, settings: dict[str, float]) -> None:
        self.settings = settings
        self.tokens = 0.0
        self.filled_at = time.monotonic()
        self.in_flight = 0
        self.served = self.refused = 0

    def admit(self) -> bool:
        rate, most = self.settings["rate"], self.settings["in_flight"]
        if most and self.in_flight >= most:
            return False
        if not rate:
            return True
        now = time.monotonic()
        depth = max(1.0, rate * 0.1)
        self.tokens = min(depth, self.tokens + (now - self.filled_at) * rate)
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def control(self, target: str) -> bytes:
        parts = urlsplit(target)
        for name, values in parse_qs(parts.query).items():
            self.settings[name] = float(values[0])
        stats = {"served": self.served, "refused": self.refused, "in_flight": self.in_flight}
        if parts.path == "/stats":
            self.served = self.refused = 0
        return http("200 OK", json.dumps(stats).encode())


class Connection(asyncio.Protocol):
    def __init__(self, endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> None:
        self.endpoint, self.loop = endpoint, loop
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            head, found, rest = self.buffer.partition(b"\r\n\r\n")
            if not found:
                return
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            self.answer(head)

    def answer(self, head: bytes) -> None:
        endpoint = self.endpoint
        if head.startswith(b"GET"):
            self.transport.write(endpoint.control(head.split(b" ", 2)[1].decode()))
        elif endpoint.admit():
            endpoint.in_flight += 1
            self.loop.call_later(endpoint.settings["latency"], self.serve)
        else:
            endpoint.refused += 1
            self.transport.write(REFUSED)

    def serve(self) -> None:
        self.endpoint.in_flight -= 1
        self.endpoint.served += 1
        if not self.transport.is_closing():
            self.transport.write(SERVED)


async def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("latency", 0.5), ("rate", 0.0), ("in_flight", 0.0)):
        parser.add_argument(f"--{name}", type=float, default=default)
    endpoint = Endpoint(vars(parser.parse_args()))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(endpoint, loop), "127.0.0.1", 0, backlog=8192
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # ends with the process that started it
    server.close()


class Server:
    """A running server, as benchmarks see it."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        self.url = f"{self.root}/v1"

    def set(self, **settings: float) -> None:
        query = "&".join(f"{name}={value}" for name, value in settings.items())
        urlopen(f"{self.root}/set?{query}").close()

    def stats(self) -> dict[str, int]:
        with urlopen(f"{self.root}/stats") as reply:
            counters: dict[str, int] = json.load(reply)
        return counters


@contextlib.contextmanager
def api_server(**settings: float) -> Iterator[Server]:
    arguments = [f"--{name}={value}" for name, value in settings.items()]
    process = subprocess.Popen(
        [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield Server(int(process.stdout.readline()))
    finally:
        process.communicate()


if __name__ == "__main__":
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    asyncio.run(main())
