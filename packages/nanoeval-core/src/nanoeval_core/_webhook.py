"""Notifications over a webhook: set `NANOEVAL_WEBHOOK_URL`, or use `library_config.WebhookConfig`.

Each is a POST of `{"text": …, "message": …, "extra": …}`: `text` is what chat services that take
incoming webhooks show (Slack, Mattermost), the other two are its parts, for programs.
"""

from __future__ import annotations

import atexit
import functools
import json
import logging
import queue
import threading
import urllib.request

log = logging.getLogger("nanoeval.webhook")

VARIABLE = "NANOEVAL_WEBHOOK_URL"
TIMEOUT = 10.0
MOST_WAITING = 100
LAST_SECONDS = 5.0
"""How long the end of the process waits for what has not been sent yet."""


def send(url: str, message: str, extra: str | None = None) -> None:
    """Post a message, after those before it, without waiting for it.

    A failure is logged and hurts nobody; with 100 messages waiting, further ones are dropped.
    """
    _sender(url).put(message, extra)


@functools.cache
def _sender(url: str) -> _Sender:
    sender = _Sender(url)
    atexit.register(sender.finish)
    return sender


class _Sender:
    """Posts to one URL on a thread of its own, in order."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: queue.Queue[bytes] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._serve, name="nanoeval-webhook", daemon=True)
        self._thread.start()

    def put(self, message: str, extra: str | None) -> None:
        text = message if extra is None else f"{message}\n{extra}"
        body = json.dumps({"text": text, "message": message, "extra": extra}).encode()
        try:
            self._waiting.put_nowait(body)
        except queue.Full:
            log.warning("webhook: %d messages wait already; dropped %r", MOST_WAITING, message)

    def _serve(self) -> None:
        while True:
            body = self._waiting.get()
            try:
                headers = {"Content-Type": "application/json"}
                request = urllib.request.Request(self._url, data=body, headers=headers)
                with urllib.request.urlopen(request, timeout=TIMEOUT):
                    pass
            except Exception as error:  # noqa: BLE001  reported; the run goes on without
                # Not the URL itself: anyone who has it can post.
                log.warning("the webhook of %s failed: %s", VARIABLE, error)
            finally:
                self._waiting.task_done()

    def finish(self) -> None:
        """Wait a little until everything is sent."""
        with self._waiting.all_tasks_done:
            self._waiting.all_tasks_done.wait_for(
                lambda: not self._waiting.unfinished_tasks, LAST_SECONDS
            )
