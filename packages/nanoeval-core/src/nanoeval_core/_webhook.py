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
    text = message if extra is None else f"{message}\n{extra}"
    body = json.dumps({"text": text, "message": message, "extra": extra}).encode()
    try:
        _waiting(url).put_nowait(body)
    except queue.Full:
        log.warning("webhook: %d messages wait already; dropped %r", MOST_WAITING, message)


@functools.cache
def _waiting(url: str) -> queue.Queue[bytes]:
    """Return the queue of the thread that posts to `url`."""
    waiting: queue.Queue[bytes] = queue.Queue(MOST_WAITING)
    arguments = (url, waiting)
    threading.Thread(target=_serve, args=arguments, name="nanoeval-webhook", daemon=True).start()
    atexit.register(_finish, waiting)
    return waiting


def _serve(url: str, waiting: queue.Queue[bytes]) -> None:
    while True:
        body = waiting.get()
        try:
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(url, data=body, headers=headers)
            with urllib.request.urlopen(request, timeout=TIMEOUT):
                pass
        except Exception as error:  # noqa: BLE001  reported; the run goes on without
            # Not the URL itself: anyone who has it can post.
            log.warning("the webhook of %s failed: %s", VARIABLE, error)
        finally:
            waiting.task_done()


def _finish(waiting: queue.Queue[bytes]) -> None:
    """Wait a little until everything is sent."""
    with waiting.all_tasks_done:
        waiting.all_tasks_done.wait_for(lambda: not waiting.unfinished_tasks, LAST_SECONDS)
