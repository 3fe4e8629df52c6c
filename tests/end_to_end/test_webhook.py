"""Notifications of a real run arrive at a real server, in order, and cost the run nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from nanoeval_core.errors import ConfigError
from nanoeval_core.library_config import WebhookConfig

from tests.support.script import run_python

RUN = ("-m", "examples.gpqa_simple", "eval.solver=MockSolver", "runner.n_tasks=3")


class Hook(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = status
        self.received: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(json.loads(body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_start_and_end_are_told(hook: Hook, tmp_path: Path) -> None:
    done = run_python(*RUN, "runner.slack_name=ada", folder=tmp_path, NANOEVAL_WEBHOOK_URL=hook.url)
    assert done.returncode == 0, done.stderr
    first, last = hook.received
    assert first["message"].startswith("@ada gpqa-sample: started (")
    assert last["message"].startswith("@ada gpqa-sample: complete (")
    assert json.loads(last["extra"])["num_tasks"] == 3
    assert last["text"] == f"{last['message']}\n{last['extra']}"


def test_enable_slackbot_switches_it_off(hook: Hook, tmp_path: Path) -> None:
    off = "runner.enable_slackbot=False"
    run_python(*RUN, off, folder=tmp_path, NANOEVAL_WEBHOOK_URL=hook.url)
    assert hook.received == []


def test_a_hook_that_refuses_hurts_nobody(hook: Hook, tmp_path: Path) -> None:
    hook.status = 500
    done = run_python(*RUN, folder=tmp_path, NANOEVAL_WEBHOOK_URL=hook.url)
    assert done.returncode == 0
    assert "the webhook of NANOEVAL_WEBHOOK_URL failed: HTTP Error 500" in done.stderr
    assert hook.url not in done.stderr


def test_urls_are_checked() -> None:
    with pytest.raises(ConfigError, match="must begin with http"):
        WebhookConfig("hooks.example.com")
