"""How messages get out of an actor: Ray calls into actors, and executors call their driver."""

from __future__ import annotations

from concurrent.futures import Future
from queue import SimpleQueue

LANES = 3
"""How many messages the driver carries at a time: as many as an executor has threads that talk."""


class Mailbox:
    """Turns the calls of an executor's threads into replies to the driver's own calls."""

    def __init__(self) -> None:
        self._out: SimpleQueue[tuple[bytes, Future[bytes]] | None] = SimpleQueue()
        self._carried: dict[int, Future[bytes]] = {}

    def call(self, message: bytes) -> bytes:
        """Return the driver's reply to `message` once it is there."""
        reply: Future[bytes] = Future()
        self._out.put((message, reply))
        return reply.result()

    def turn(self, lane: int, reply: bytes | None) -> bytes | None:
        """Hand in the reply to the message that a lane carried last, and wait for the next.

        Args:
            lane: which of `LANES`.
            reply: None in its first turn.

        Returns:
            the message, or None when there will be no more.
        """
        if reply is not None:
            self._carried.pop(lane).set_result(reply)
        call = self._out.get()
        if call is None:
            return None
        message, self._carried[lane] = call
        return message

    def close(self) -> None:
        """End the conversation: there will be no more messages."""
        for _ in range(LANES):
            self._out.put(None)
