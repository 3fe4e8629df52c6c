"""Messages of several threads, each a conversation of its own."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("nanoeval_ray", reason="needs Ray: `pip install nanoeval[ray]`")
from nanoeval_ray._mailbox import LANES, Mailbox


def test_each_thread_gets_the_replies_to_its_own_messages() -> None:
    mailbox = Mailbox()

    def talk(name: int) -> list[bytes]:
        return [mailbox.call(b"%d.%d" % (name, i)) for i in range(50)]

    def answer(lane: int) -> int:
        turns = 0
        message = mailbox.turn(lane, None)
        while message is not None:
            turns += 1
            message = mailbox.turn(lane, b"re " + message)
        return turns

    with ThreadPoolExecutor(2 * LANES) as threads:
        answers = [threads.submit(answer, lane) for lane in range(LANES)]
        talks = [threads.submit(talk, name) for name in range(LANES)]
        for name, replies in enumerate(talks):
            assert replies.result() == [b"re %d.%d" % (name, i) for i in range(50)]
        mailbox.close()
        # Which lane a thread gets depends on who is there first.
        assert sum(turns.result() for turns in answers) == 50 * LANES


def test_a_thread_that_waits_holds_up_no_other() -> None:
    mailbox = Mailbox()
    waiting = threading.Thread(target=mailbox.call, args=(b"wait",), daemon=True)
    waiting.start()
    assert mailbox.turn(0, None) == b"wait"
    with ThreadPoolExecutor(1) as threads:
        reply = threads.submit(mailbox.call, b"exchange")
        assert mailbox.turn(1, None) == b"exchange"
        mailbox.close()
        assert mailbox.turn(1, b"done") is None
        assert reply.result() == b"done"
    mailbox.turn(0, b"stop")
    waiting.join()


def test_more_threads_than_lanes_take_turns() -> None:
    mailbox = Mailbox()
    with ThreadPoolExecutor(2 * LANES) as threads:
        replies = {threads.submit(mailbox.call, b"%d" % i): b"re %d" % i for i in range(2 * LANES)}
        message = mailbox.turn(0, None)
        for _ in range(2 * LANES - 1):
            message = mailbox.turn(0, b"re %s" % message)
        mailbox.close()
        assert mailbox.turn(0, b"re %s" % message) is None
    assert {reply: reply.result() for reply in replies} == replies
