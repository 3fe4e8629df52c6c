"""The queue under random histories: whatever happens in whatever order, nothing is lost or doubled.

Real connections to a real file; the histories are hypothesis's.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import pickle
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.usage import Usage
from nanoeval_runner._payloads import load_result
from nanoeval_runner._queue import event_log, transactions
from nanoeval_runner._queue.connection import connect
from nanoeval_runner._queue.paths import create_private
from nanoeval_runner._queue.rows import (
    FINAL,
    RESULT_STATES,
    Completion,
    ExchangeReply,
    ExchangeRequest,
    Lease,
    NewEval,
)
from nanoeval_runner._queue.states import MAX_LOSSES, most_in_flight

KINDS = ("in_process", "multiprocess")
Identity = tuple[int, str, int]


@dataclasses.dataclass(eq=False)
class Executor:
    """What an executor process knows."""

    id: int
    kind: str
    connection: sqlite3.Connection
    held: dict[int, Lease] = dataclasses.field(default_factory=dict)
    alive: bool = True
    finished: list[Completion] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Expected:
    """What the file must say of an eval."""

    kind: str
    asked: int | None
    state: str = "running"
    draining: bool = False
    limit: int | None = None
    events: list[bytes] = dataclasses.field(default_factory=list)
    usage: Usage = dataclasses.field(default_factory=Usage)


def new_eval(number: int, expected: Expected) -> NewEval:
    return NewEval(
        name=f"eval-{number}",
        run_id=f"run-{number}",
        pool=expected.kind,
        concurrency=expected.asked,
        model_name=None,
        arguments="{}",
        origin="{}",
        spec=b"spec",
        encoder=b"encoder",
    )


class QueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "set.db"
        create_private(self.path)
        self.db = connect(self.path)
        self.db.execute("PRAGMA synchronous = OFF")
        self.clock = 1000.0
        self.evals: dict[int, Expected] = {}
        self.all_executors: list[Executor] = []
        self.tasks: dict[int, Identity] = {}
        self.retries: dict[Identity, int] = {}
        self.results: dict[Identity, str] = {}
        self.logged: collections.Counter[int] = collections.Counter()
        self.deaths: collections.Counter[Identity] = collections.Counter()
        self.global_limit: int | None = None
        self.questions = 0

    @initialize(data=st.data(), kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
    def create(self, data: st.DataObject, kinds: list[str]) -> None:
        transactions.create_schema(self.db, "set")
        for kind in kinds:
            self.add_eval(kind, data.draw(st.none() | st.integers(1, 4)))
            self.enqueue(data, data.draw(st.integers(1, 3)), 1)
            self.start(kind)
        self.change_global_limit(data.draw(st.none() | st.integers(1, 3)))

    def teardown(self) -> None:
        if self.evals:
            self.finish_everything()
        for executor in self.all_executors:
            executor.connection.close()
        self.db.close()
        self.folder.cleanup()

    # --- evals and tasks

    @rule(kind=st.sampled_from(KINDS), limit=st.none() | st.integers(1, 4))
    @precondition(lambda self: len(self.evals) < 4)
    def add_eval(self, kind: str, limit: int | None) -> None:
        expected = Expected(kind, limit, limit=limit)
        eval_id = transactions.add_eval(self.db, new_eval(len(self.evals), expected), 0.0)
        transactions.start_eval(self.db, eval_id)
        self.evals[eval_id] = expected

    @rule(data=st.data(), count=st.integers(1, 6), attempts=st.integers(1, 2))
    @precondition(lambda self: self.evals)
    def enqueue(self, data: st.DataObject, count: int, attempts: int) -> None:
        eval_id = data.draw(st.sampled_from(sorted(self.evals)))
        tasks = []
        for _ in range(count):
            self.questions += 1
            tasks += [(f"q{self.questions}", a, b"pay", b"load") for a in range(1, attempts + 1)]
        first = transactions.enqueue(self.db, eval_id, tasks)
        for index, (question_id, attempt_id, _, _) in enumerate(tasks):
            self.tasks[first + index] = (eval_id, question_id, attempt_id)
            self.retries[eval_id, question_id, attempt_id] = 0

    @rule(data=st.data(), limit=st.none() | st.integers(1, 5))
    @precondition(lambda self: self.evals)
    def change_limit(self, data: st.DataObject, limit: int | None) -> None:
        eval_id = data.draw(st.sampled_from(sorted(self.evals)))
        transactions.set_concurrency(self.db, eval_id, limit)
        self.evals[eval_id].limit = limit

    @rule(limit=st.none() | st.integers(0, 4))
    def change_global_limit(self, limit: int | None) -> None:
        transactions.set_concurrency(self.db, None, limit)
        self.global_limit = limit

    @rule(
        data=st.data(),
        how=st.sampled_from(["reopen", "reopen", "stop", "drain", "drain", "fail"]),
    )
    @precondition(lambda self: self.evals)
    def steer_eval(self, data: st.DataObject, how: str) -> None:
        eval_id = data.draw(st.sampled_from(sorted(self.evals)))
        expected = self.evals[eval_id]
        if how == "drain":
            transactions.stop_claims(self.db, eval_id)
            expected.draining = True
        elif how == "reopen":
            transactions.reopen_eval(self.db, eval_id, new_eval(eval_id, expected))
            transactions.start_eval(self.db, eval_id)
            expected.state, expected.draining = "running", False
        elif how == "stop":
            transactions.stop_eval(self.db, eval_id)
            expected.state = "stopped" if expected.state == "running" else expected.state
        else:
            transactions.fail_eval(self.db, eval_id, b"error")
            expected.state = "failed" if expected.state == "running" else expected.state

    @rule(seconds=st.floats(0, 20))
    def pass_time(self, seconds: float) -> None:
        self.clock += seconds

    # --- executors

    @rule(kind=st.sampled_from(KINDS))
    def start_executor(self, kind: str) -> None:
        self.start(kind)

    def start(self, kind: str) -> Executor:
        executor_id = transactions.add_executor(self.db, "executor", kind, 1, "host")
        connection = connect(self.path)
        executor = Executor(executor_id, kind, connection)
        self.all_executors.append(executor)
        return executor

    def exchange(self, executor: Executor, completions: list[Completion], want: int) -> Any:
        leased_before = {e: self.count(e, "leased") for e in self.evals}
        request = ExchangeRequest(
            executor_id=executor.id,
            completions=completions,
            want=want,
            ready_evals=sorted(self.evals),
            pool=executor.kind,
            in_flight=len(executor.held),
            losses=max((lease.losses for lease in executor.held.values()), default=0),
        )
        reply = transactions.exchange(
            executor.connection, request, now=lambda: 0.0, monotonic=lambda: self.clock
        )
        if not executor.alive:
            assert reply.fenced
            assert not reply.leases
            assert reply.rejected == {c.task_id for c in completions}
            return reply
        assert not reply.fenced
        self.check_leases(executor, reply, want, leased_before)
        return reply

    def check_leases(
        self, executor: Executor, reply: ExchangeReply, want: int, before: dict[int, int]
    ) -> None:
        assert len(reply.leases) <= want
        total_before = sum(before.values())
        for lease in reply.leases:
            assert self.evals[lease.eval_id].kind == executor.kind
            identity = self.tasks.get(lease.task_id) or self.identity_of(lease.task_id)
            assert lease.eval_id == identity[0]
            assert identity not in self.results
            assert lease.retry_idx == self.retries[identity]
            if executor.kind != "in_process" or lease.retry_idx:
                assert lease.payload == b"payload"
            executor.held[lease.task_id] = lease
        if reply.leases:
            most = most_in_flight(max(lease.losses for lease in executor.held.values()))
            assert most is None or len(executor.held) <= most
        for eval_id in {lease.eval_id for lease in reply.leases}:
            expected = self.evals[eval_id]
            assert expected.state == "running"
            assert not expected.draining
            leased = self.count(eval_id, "leased")
            assert expected.limit is None or leased <= max(expected.limit, before[eval_id])
        if reply.leases and self.global_limit is not None:
            total = sum(self.count(e, "leased") for e in self.evals)
            assert total <= max(self.global_limit, total_before)

    @rule(data=st.data(), want=st.integers(1, 6))
    @precondition(lambda self: self.all_executors)
    def claim(self, data: st.DataObject, want: int) -> None:
        self.exchange(data.draw(st.sampled_from(self.all_executors)), [], want)

    @rule(data=st.data(), times=st.integers(1, 4))
    @precondition(lambda self: self.tasks)
    def start_claim_and_die(self, data: st.DataObject, times: int) -> None:
        """A task kills its processes."""
        kind = self.evals[data.draw(st.sampled_from(sorted(self.evals)))].kind
        for _ in range(times):
            executor = self.start(kind)
            self.exchange(executor, [], 6)
            self.end(executor, died=True)

    @rule(data=st.data(), want=st.integers(0, 3))
    @precondition(lambda self: any(e.held for e in self.all_executors))
    def complete(self, data: st.DataObject, want: int) -> None:
        busy = [e for e in self.all_executors if e.held]
        executor = data.draw(st.sampled_from(busy))
        ids = data.draw(st.lists(st.sampled_from(sorted(executor.held)), unique=True, min_size=1))
        completions = [data.draw(self.completions(executor.held.pop(i))) for i in ids]
        # An answer that was lost on the way: the executor hands some of them in again.
        again = []
        if executor.finished and executor.alive:
            again = data.draw(
                st.lists(
                    st.sampled_from(executor.finished), max_size=2, unique_by=lambda c: c.task_id
                )
            )
            again = [c for c in again if c.task_id not in executor.held and c not in completions]
        reply = self.exchange(executor, [*again, *completions], want)
        if executor.alive:
            stale = {c.task_id for c in again}
            assert reply.rejected == stale
            for completion in completions:
                self.expect(executor, completion)
            executor.finished += [c for c in completions if c.outcome in RESULT_STATES]

    def completions(self, lease: Lease) -> st.SearchStrategy[Completion]:
        outcomes = st.sampled_from(
            ["done"] * 6 + ["failed"] * 3 + ["retried"] * 3 + ["requeued"] * 2 + ["fatal"]
        )

        @st.composite
        def draw(draw: Any) -> Completion:
            outcome = draw(outcomes)
            value = {
                "done": pickle.dumps(("result", lease.task_id)),
                "failed": pickle.dumps(RolloutSystemError("down")),
                "retried": pickle.dumps(RolloutSystemError("down")),
                "fatal": b"fatal",
                "requeued": None,
            }[outcome]
            return Completion(
                lease.task_id,
                lease.eval_id,
                outcome,
                value,
                events=b"e%d" % lease.task_id if outcome in RESULT_STATES else b"",
                retry_delay=draw(st.floats(0, 10)) if outcome == "retried" else 0.0,
                usage=draw(st.none() | st.just(Usage(requests=1, prompt_tokens=3, cost=0.5))),
            )

        return draw()

    def expect(self, executor: Executor, completion: Completion) -> None:
        expected = self.evals[completion.eval_id]
        identity = self.tasks.get(completion.task_id) or self.identity_of(completion.task_id)
        if completion.events:
            expected.events.append(completion.events)
        if completion.usage:
            expected.usage += completion.usage
        if completion.outcome in FINAL:
            assert identity not in self.results
            self.results[identity] = "done" if completion.outcome == "done" else "failed"
            if executor.kind != "in_process":
                self.logged[completion.task_id] += 1
        elif completion.outcome == "retried":
            self.retries[identity] += 1
            self.deaths[identity] = 0
        elif completion.outcome == "fatal" and expected.state == "running":
            expected.state = "failed"

    @rule(data=st.data(), died=st.booleans())
    @precondition(lambda self: self.all_executors)
    def end_executor(self, data: st.DataObject, died: bool) -> None:
        """It stops, or is declared dead: it may well come back with results."""
        self.end(data.draw(st.sampled_from(self.all_executors)), died=died)

    def end(self, executor: Executor, *, died: bool) -> None:
        was_alive, executor.alive = executor.alive, False
        transactions.end_executor(self.db, executor.id, died=died)
        if was_alive and died:
            for task_id, lease in executor.held.items():
                identity = self.tasks.get(task_id) or self.identity_of(task_id)
                self.deaths[identity] += 1
                if self.state_of(task_id) == "failed":
                    self.results[identity] = "failed"
                    self.logged[task_id] += 1
                    assert self.deaths[identity] > MAX_LOSSES, lease

    @rule()
    def recover(self) -> None:
        """The main process was killed, and every executor with it; another one takes over."""
        transactions.recover(self.db)
        self.logged.clear()  # what takes over reads all results
        for executor in self.all_executors:
            executor.alive = False

    # --- what the file says

    def one(self, query: str, *values: Any) -> Any:
        return self.db.execute(query, values).fetchone()

    def count(self, eval_id: int, state: str) -> int:
        found: int = self.one(
            "SELECT count(*) FROM task WHERE eval_id = ? AND state = ?", eval_id, state
        )[0]
        return found

    def state_of(self, task_id: int) -> str:
        state: str = self.one("SELECT state FROM task WHERE id = ?", task_id)[0]
        return state

    def identity_of(self, task_id: int) -> Identity:
        """Of a retry: a row that the queue made itself."""
        row = self.one("SELECT eval_id, question_id, attempt_id FROM task WHERE id = ?", task_id)
        assert row is not None
        identity: Identity = tuple(row)
        self.tasks[task_id] = identity
        return identity

    @invariant()
    def counters_are_true(self) -> None:
        for row in transactions.list_evals(self.db):
            expected = self.evals[row.id]
            assert (row.state, row.concurrency) == (expected.state, expected.limit)
            assert row.queued == self.count(row.id, "queued")
            assert row.leased == self.count(row.id, "leased")
            finals = [s for identity, s in self.results.items() if identity[0] == row.id]
            assert row.done == finals.count("done") == self.count(row.id, "done")
            assert row.failed == finals.count("failed")
            assert row.total == sum(identity[0] == row.id for identity in self.retries)
            assert row.retries == sum(
                retries for identity, retries in self.retries.items() if identity[0] == row.id
            )
            assert row.usage == expected.usage

    @invariant()
    def every_task_has_one_row_that_counts(self) -> None:
        rows = collections.defaultdict(list)
        for stored in self.db.execute(
            "SELECT eval_id, question_id, attempt_id, retry_idx, state, result IS NULL "
            "FROM task ORDER BY retry_idx"
        ):
            rows[stored[:3]].append(stored[3:])
        assert rows.keys() == self.retries.keys()
        for identity, attempts in rows.items():
            *former, (last, state, no_result) = attempts
            assert [(i, "failed", 0) for i in range(len(former))] == former
            assert last == len(former) == self.retries[identity]
            assert state == self.results.get(identity, state)
            assert (state in ("done", "failed")) == (identity in self.results)
            assert bool(no_result) == (identity not in self.results)

    @invariant()
    def no_slot_leaks(self) -> None:
        held = {
            task_id: executor.id
            for executor in self.all_executors
            if executor.alive
            for task_id in executor.held
        }
        leased = self.db.execute("SELECT id, executor_id FROM task WHERE state = 'leased'")
        assert dict(leased.fetchall()) == held
        idle = self.db.execute("SELECT DISTINCT executor_id FROM task WHERE state <> 'leased'")
        assert {row[0] for row in idle} <= {0}

    @invariant()
    def every_task_is_in_one_place(self) -> None:
        """In a queue span, requeued, in a lease span without a result, or a result: in just one."""
        places: collections.Counter[int] = collections.Counter()
        for first, last in self.db.execute("SELECT first, last FROM queue_span"):
            places.update(range(first, last + 1))
        results = {task_id for (task_id,) in self.db.execute("SELECT task_id FROM result")}
        places.update(results)
        places.update(task_id for (task_id,) in self.db.execute("SELECT task_id FROM requeued"))
        leases = self.db.execute("SELECT first, last, unfinished, executor_id FROM lease_span")
        alive = {executor.id for executor in self.all_executors if executor.alive}
        for first, last, unfinished, executor_id in leases:
            held = set(range(first, last + 1)) - results
            assert len(held) == unfinished
            assert executor_id in alive
            places.update(held)
        stored = [task_id for (task_id,) in self.db.execute("SELECT id FROM task_data")]
        assert places == dict.fromkeys(stored, 1)

    @invariant()
    def losses_are_bounded(self) -> None:
        worst = self.one("SELECT max(losses) FROM task")[0] or 0
        assert worst <= MAX_LOSSES + 1

    @invariant()
    def logs_hold_everything_once(self) -> None:
        seen: collections.Counter[int] = collections.Counter()
        for (task_ids,) in self.db.execute("SELECT task_ids FROM result_log"):
            seen.update(json.loads(task_ids))
        assert seen == self.logged
        for eval_id, expected in self.evals.items():
            _, events = event_log.read_events(self.db, Path(), eval_id, 0, 10**6)
            assert events == expected.events

    # --- the end

    def finish_everything(self) -> None:
        """Whatever happened, one healthy executor of each kind can finish all that is left."""
        self.recover()
        transactions.set_concurrency(self.db, None, None)
        self.global_limit = None
        for eval_id, expected in self.evals.items():
            transactions.reopen_eval(self.db, eval_id, new_eval(eval_id, expected))
            transactions.start_eval(self.db, eval_id)
            expected.state, expected.draining = "running", False
        for kind in KINDS:
            executor = self.start(kind)
            todo = True
            while todo:
                reply = self.exchange(executor, [], 1000)
                todo = bool(reply.leases)
                done = [
                    Completion(lease.task_id, lease.eval_id, "done", pickle.dumps("late"))
                    for lease in reply.leases
                ]
                executor.held.clear()
                assert not self.exchange(executor, done, 0).rejected
                for completion in done:
                    self.expect(executor, completion)
        assert self.results.keys() == self.retries.keys()
        self.counters_are_true()
        self.every_task_has_one_row_that_counts()
        for (value,) in self.db.execute(
            "SELECT result FROM task WHERE state IN ('done', 'failed')"
        ):
            load_result(value)


TestQueueMachine = pytest.mark.timeout(600)(QueueMachine.TestCase)  # shrinking a failure takes long
TestQueueMachine.settings = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_two_connections_never_hold_the_same_task(tmp_path: Path) -> None:
    """What the machine does in turns, by two connections whose transactions overlap."""
    path = tmp_path / "set.db"
    create_private(path)
    with contextlib.closing(connect(path)) as db, contextlib.closing(connect(path)) as other:
        transactions.create_schema(db, "set")
        eval_id = transactions.add_eval(db, new_eval(0, Expected("multiprocess", None)), 0.0)
        transactions.enqueue(db, eval_id, [("q", 1, b"", b"p")])
        transactions.start_eval(db, eval_id)
        first = transactions.add_executor(db, "a", "multiprocess", 1, "host")
        second = transactions.add_executor(db, "b", "multiprocess", 2, "host")

        def ask(connection: sqlite3.Connection, executor_id: int) -> list[Lease]:
            request = ExchangeRequest(executor_id, [], 5, [eval_id], "multiprocess")
            return transactions.exchange(connection, request).leases

        assert len(ask(db, first)) == 1
        assert ask(other, second) == []
