"""How messages get out of an actor: Ray calls into actors, and executors call their driver."""

from __future__ import annotations

import threading
from queue import SimpleQueue

LANES = 3
"""How many threads of an executor talk with the driver."""


class Mailbox:
    """Turns the calls of up to `LANES` threads into replies to the driver's own calls.

    A lane is one thread's: a message out, its reply back, one after the other.
    """

    def __init__(self) -> None:
        self._out: list[SimpleQueue[bytes | None]] = [SimpleQueue() for _ in range(LANES)]
        self._back: list[SimpleQueue[bytes]] = [SimpleQueue() for _ in range(LANES)]
        self._unclaimed = list(range(LANES))
        self._thread = threading.local()

    def call(self, message: bytes) -> bytes:
        """Return the driver's reply to `message` once it is there; each thread gets a lane."""
        lane: int | None = getattr(self._thread, "lane", None)
        if lane is None:
            lane = self._thread.lane = self._unclaimed.pop(0)
        self._out[lane].put(message)
        return self._back[lane].get()

    def turn(self, lane: int, reply: bytes | None) -> bytes | None:
        """Hand in the reply to the lane's last message, and wait for its next.

        Args:
            reply: None in the first turn.

        Returns:
            the message, or None when there will be no more.
        """
        if reply is not None:
            self._back[lane].put(reply)
        return self._out[lane].get()

    def close(self) -> None:
        """End the conversation: there will be no more messages."""
        for out in self._out:
            out.put(None)
