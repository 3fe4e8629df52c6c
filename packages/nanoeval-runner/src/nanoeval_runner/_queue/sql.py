"""Every SQL statement on state files, named.

`metadata` holds `schema_version`, `run_set_id`, `global_limit` and what else concerns the whole
file. `task` rows are claimed through the partial index `task_queued`, whose order is the order of
the queue: tasks as they were listed, then retries by the time they may start. Hot counters of an
eval stand in its row before the large columns, so that a claim reads one page per eval.
"""

from __future__ import annotations

SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE metadata (
    key   TEXT PRIMARY KEY,
    value
) WITHOUT ROWID;

CREATE TABLE eval (
    id              INTEGER PRIMARY KEY,
    state           TEXT NOT NULL
                    CHECK (state IN ('queued', 'running', 'done', 'failed', 'stopped')),
    pool            TEXT NOT NULL,
    draining        INTEGER NOT NULL DEFAULT 0,
    listed          INTEGER NOT NULL DEFAULT 0,
    concurrency     INTEGER,
    asked_concurrency INTEGER,
    queued          INTEGER NOT NULL DEFAULT 0,
    leased          INTEGER NOT NULL DEFAULT 0 CHECK (leased >= 0),
    done            INTEGER NOT NULL DEFAULT 0,
    failed          INTEGER NOT NULL DEFAULT 0,
    retries         INTEGER NOT NULL DEFAULT 0,
    total           INTEGER NOT NULL DEFAULT 0,
    requests        INTEGER NOT NULL DEFAULT 0,
    prompt_tokens   INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens   INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    api_retries     INTEGER NOT NULL DEFAULT 0,
    cache_hits      INTEGER NOT NULL DEFAULT 0,
    cost            REAL NOT NULL DEFAULT 0,
    elapsed         REAL NOT NULL DEFAULT 0,
    created_at      REAL NOT NULL,
    name            TEXT NOT NULL,
    run_id          TEXT NOT NULL UNIQUE,
    model_name      TEXT,
    record_position TEXT NOT NULL DEFAULT '',
    arguments       TEXT NOT NULL,
    origin          TEXT NOT NULL DEFAULT '{}',
    summary         TEXT,
    error           BLOB,
    spec            BLOB,
    encoder         BLOB
);

CREATE INDEX eval_running ON eval (id) WHERE state = 'running';

CREATE TABLE task (
    id          INTEGER PRIMARY KEY,
    eval_id     INTEGER NOT NULL REFERENCES eval (id),
    question_id TEXT NOT NULL,
    attempt_id  INTEGER NOT NULL,
    retry_idx   INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('queued', 'leased', 'done', 'failed')),
    executor_id INTEGER NOT NULL DEFAULT 0,
    losses      INTEGER NOT NULL DEFAULT 0,
    not_before  REAL NOT NULL DEFAULT 0,
    leased_at   REAL NOT NULL DEFAULT 0,
    finished_at REAL NOT NULL DEFAULT 0,
    payload     BLOB NOT NULL,
    result      BLOB
);
CREATE UNIQUE INDEX task_identity ON task (eval_id, question_id, attempt_id, retry_idx);
CREATE INDEX task_queued ON task (eval_id, not_before, id) WHERE state = 'queued';
CREATE INDEX task_failed ON task (finished_at) WHERE state = 'failed';

CREATE TABLE result_log (
    seq      INTEGER PRIMARY KEY,
    eval_id  INTEGER NOT NULL,
    task_ids TEXT NOT NULL
);

CREATE TABLE event_log (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    eval_id INTEGER NOT NULL,
    events  BLOB,
    segment TEXT,
    CHECK ((events IS NULL) <> (segment IS NULL))
);
CREATE INDEX event_log_eval ON event_log (eval_id, seq);

CREATE TABLE executor (
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL,
    pool         TEXT NOT NULL,
    pid          INTEGER NOT NULL,
    host         TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('running', 'stopped', 'dead')),
    lease_until  REAL NOT NULL,
    started_at   REAL NOT NULL,
    heartbeat_at REAL NOT NULL,
    in_flight    INTEGER NOT NULL DEFAULT 0,
    gauges       TEXT NOT NULL DEFAULT '{}',
    running      TEXT NOT NULL DEFAULT '[]',
    log          TEXT NOT NULL DEFAULT ''
);

CREATE VIEW lease AS
SELECT task.id AS task_id, eval.name AS eval, question_id, attempt_id, retry_idx,
       executor.name AS executor, executor.pid, executor.lease_until, leased_at
FROM task
JOIN eval ON eval.id = task.eval_id
JOIN executor ON executor.id = task.executor_id
WHERE task.state = 'leased';
"""

BEGIN = "BEGIN IMMEDIATE"
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"

GET_METADATA = "SELECT value FROM metadata WHERE key = ?"
SET_METADATA = (
    "INSERT INTO metadata (key, value) VALUES (?, ?) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
DELETE_METADATA = "DELETE FROM metadata WHERE key = ?"
COUNT_TABLES = "SELECT count(*) FROM sqlite_master"
QUICK_CHECK = "PRAGMA quick_check(1)"

# --- evals

INSERT_EVAL = """
INSERT INTO eval (state, pool, concurrency, asked_concurrency, created_at, name, run_id,
                  model_name, arguments, origin, spec, encoder)
VALUES ('queued', :pool, :concurrency, :concurrency, :created_at, :name, :run_id,
        :model_name, :arguments, :origin, :spec, :encoder)
"""
_EVAL_COLUMNS = """
    id, name, run_id, state, pool, listed, concurrency, total, queued, leased, done, failed,
    retries, model_name, created_at, elapsed, record_position, arguments, origin, requests,
    prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, api_retries, cache_hits,
    cost, summary
"""
LIST_EVALS = f"SELECT {_EVAL_COLUMNS} FROM eval ORDER BY id"
GET_EVAL = f"SELECT {_EVAL_COLUMNS} FROM eval WHERE id = ?"
GET_EVAL_SPEC = "SELECT spec, encoder FROM eval WHERE id = ?"
GET_EVAL_ERROR = "SELECT error FROM eval WHERE id = ?"
RUNNING_EVALS = """
SELECT id, queued, leased, concurrency, pool, draining FROM eval WHERE state = 'running' ORDER BY id
"""
# A limit that was changed while the eval ran stays, unless the user now asks for another one.
REOPEN_EVAL = """
UPDATE eval SET state = 'queued', draining = 0, error = NULL, pool = :pool, spec = :spec,
                encoder = :encoder, arguments = :arguments, origin = :origin,
                concurrency = CASE WHEN asked_concurrency IS :concurrency
                                   THEN concurrency ELSE :concurrency END,
                asked_concurrency = :concurrency
WHERE id = :id
"""
STOP_EVAL = "UPDATE eval SET state = 'stopped' WHERE id = ? AND state IN ('queued', 'running')"
START_EVAL = "UPDATE eval SET state = 'running', listed = 1 WHERE id = ? AND state = 'queued'"
DRAIN_EVAL = "UPDATE eval SET draining = 1 WHERE id = ?"
SET_ELAPSED = "UPDATE eval SET elapsed = ? WHERE id = ?"
FINISH_EVAL = "UPDATE eval SET state = ?, summary = ?, elapsed = ? WHERE id = ?"
FAIL_EVAL = """
UPDATE eval SET state = 'failed', error = coalesce(error, ?)
WHERE id = ? AND state IN ('queued', 'running')
"""
COUNT_QUEUED = """
UPDATE eval SET queued = queued + :count, total = total + :count WHERE id = :id
"""
COUNT_CLAIMED = "UPDATE eval SET queued = queued - ?1, leased = leased + ?1 WHERE id = ?2"
COUNT_COMPLETED = """
UPDATE eval
SET leased = leased - :leased, done = done + :done, failed = failed + :failed,
    queued = queued + :queued, retries = retries + :retries
WHERE id = :id
"""
COUNT_USAGE = """
UPDATE eval
SET requests = requests + :requests, prompt_tokens = prompt_tokens + :prompt_tokens,
    completion_tokens = completion_tokens + :completion_tokens,
    cached_tokens = cached_tokens + :cached_tokens,
    reasoning_tokens = reasoning_tokens + :reasoning_tokens,
    api_retries = api_retries + :retries, cache_hits = cache_hits + :cache_hits,
    cost = cost + :cost
WHERE id = :id
"""
SET_PARTIAL_SUMMARY = "UPDATE eval SET summary = ? WHERE id = ? AND state = 'running'"
SET_EVAL_CONCURRENCY = "UPDATE eval SET concurrency = ? WHERE id = ?"
COUNT_RELEASED = """
UPDATE eval SET leased = leased - :count, queued = queued + :count WHERE id = :id
"""
TOTAL_LEASED = "SELECT coalesce(sum(leased), 0) FROM eval"

# --- tasks

NEXT_TASK_ID = "SELECT coalesce(max(id), 0) + 1 FROM task"
CHUNKS = (256, 64, 16, 4, 1)
"""Rows a statement of `insert_tasks` and `complete_tasks` works on.

Many rows a statement are one call into sqlite, which lets go of the interpreter's lock once rather
than per row; few sizes are each prepared once and stay prepared.
"""


def insert_tasks(n: int) -> str:
    """One statement that queues `n` tasks.

    Its parameters: (id, eval id, question id, attempt id, payload) × n.
    """
    values = ", ".join(["(?, ?, ?, ?, 0, 'queued', ?)"] * n)
    return (
        "INSERT INTO task (id, eval_id, question_id, attempt_id, retry_idx, state, payload) "
        f"VALUES {values}"
    )


# Claims walk task_queued in order; `leased_at` is wall-clock time, `not_before` monotonic.
_CLAIMABLE = """
    FROM task INDEXED BY task_queued
    WHERE eval_id = ?1 AND state = 'queued' AND not_before <= ?2
    ORDER BY not_before, id LIMIT ?3
"""
SPAN_OF_CLAIM = f"""
SELECT min(id), max(id), count(*), max(retry_idx), max(losses)
FROM (SELECT id, retry_idx, losses {_CLAIMABLE})
"""
# Neighbours, as tasks that were queued together are, need no search: one range, half the cost.
CLAIM_RANGE = """
UPDATE task SET state = 'leased', executor_id = ?, leased_at = ? WHERE id BETWEEN ? AND ?"""
CLAIM_RANGE_WITH_PAYLOAD = f"{CLAIM_RANGE} RETURNING id, retry_idx, losses, payload"
_CLAIM = f"""
UPDATE task SET state = 'leased', executor_id = ?4, leased_at = ?5
WHERE id IN (SELECT id {_CLAIMABLE})
RETURNING id, retry_idx, losses"""
# The driver has the tasks it listed in memory, but a retry is a new row.
CLAIM = f"{_CLAIM}, CASE WHEN retry_idx > 0 THEN payload END"
CLAIM_WITH_PAYLOAD = f"{_CLAIM}, payload"
CLAIMABLE = f"SELECT id, losses {_CLAIMABLE}"
CLAIM_BY_ID = """
UPDATE task SET state = 'leased', executor_id = ?, leased_at = ?
WHERE id IN (SELECT value FROM json_each(?))
RETURNING id, retry_idx, losses, payload
"""
NEXT_DUE = """
SELECT min(not_before) FROM task INDEXED BY task_queued WHERE eval_id = ? AND state = 'queued'
"""


def complete_tasks(n: int) -> str:
    """One statement that ends `n` leases, by rowid.

    Its parameters: the wall-clock time, (task id, state, result) × n, and the executor.
    """
    values = ", ".join(["(?, ?, ?)"] * n)
    # Not `WITH … UPDATE`: sqlite3 reports a row count for statements that begin with UPDATE.
    return (
        "UPDATE task SET state = ended.column2, result = ended.column3, finished_at = ?, "
        f"executor_id = 0 FROM (VALUES {values}) AS ended "
        "WHERE task.id = ended.column1 AND task.state = 'leased' AND task.executor_id = ?"
    )


STILL_LEASED = """
SELECT id FROM task
WHERE id IN (SELECT value FROM json_each(?)) AND state = 'leased' AND executor_id = ?
"""
INSERT_RETRY = """
INSERT INTO task (eval_id, question_id, attempt_id, retry_idx, state, not_before, payload)
SELECT eval_id, question_id, attempt_id, retry_idx + 1, 'queued', ?, payload
FROM task WHERE id = ?
"""
# A scan: executors end rarely, and an index of leases would cost every claim and every result.
RELEASE_LEASES = """
UPDATE task SET state = 'queued', executor_id = 0, losses = losses + ?
WHERE executor_id = ? AND state = 'leased' RETURNING id, eval_id, losses
"""
FAIL_LOST_TASK = """
UPDATE task SET state = 'failed', result = ?, finished_at = ? WHERE id = ? AND state = 'queued'
"""
RESET_LEASED = """
UPDATE task SET state = 'queued', executor_id = 0 WHERE state = 'leased' RETURNING eval_id
"""
RESET_WAITING = "UPDATE task SET not_before = 0 WHERE state = 'queued' AND not_before > 0"
LIST_QUEUED = """
SELECT id, question_id, attempt_id, retry_idx, payload, NULL
FROM task INDEXED BY task_queued WHERE eval_id = ? AND state = 'queued'
"""
# Of the attempts at a task, the one that no retry followed. By rowid; retries are found through
# task_identity.
_FINAL = """
FROM task
WHERE eval_id = ? AND id > ? AND id <= ?
  AND (state = 'done' OR state = 'failed' AND NOT EXISTS (
        SELECT 1 FROM task AS later
        WHERE later.eval_id = task.eval_id AND later.question_id = task.question_id
          AND later.attempt_id = task.attempt_id AND later.retry_idx = task.retry_idx + 1))
ORDER BY id LIMIT ?
"""
LIST_FINAL = f"SELECT id, question_id, attempt_id, retry_idx, NULL, result {_FINAL}"
LIST_FINAL_WITH_PAYLOAD = f"SELECT id, question_id, attempt_id, retry_idx, payload, result {_FINAL}"
DROP_TASKS = """
DELETE FROM task
WHERE id IN (SELECT value FROM json_each(?)) AND eval_id = ? AND state = 'queued'
"""
COUNT_DROPPED = "UPDATE eval SET queued = queued - :count, total = total - :count WHERE id = :id"
RESULTS_BY_ID = """
SELECT id, retry_idx, result FROM task WHERE id IN (SELECT value FROM json_each(?))
"""
# How long some tasks took, for forecasts. Ids are dense, so that they can be drawn at random.
LAST_TASK_ID = "SELECT coalesce(max(id), 0) FROM task"
TIMES_BY_ID = """
SELECT eval_id, leased_at, finished_at FROM task
WHERE id IN (SELECT value FROM json_each(?)) AND state IN ('done', 'failed') AND leased_at > 0
"""
# Through task_leased.
LEASED_SINCE = "SELECT eval_id, leased_at FROM task WHERE state = 'leased' LIMIT ?"
PAYLOAD_BY_ID = "SELECT payload FROM task WHERE id = ?"

# --- logs: what the driver has yet to see

LOG_RESULTS = "INSERT INTO result_log (eval_id, task_ids) VALUES (?, ?)"
READ_RESULT_LOG = "SELECT seq, eval_id, task_ids FROM result_log WHERE seq > ? ORDER BY seq LIMIT ?"
LAST_RESULT_SEQ = "SELECT coalesce(max(seq), 0) FROM result_log"
LOG_EVENTS = "INSERT INTO event_log (eval_id, events, segment) VALUES (?, ?, ?)"
READ_EVENT_LOG = """
SELECT seq, events, segment FROM event_log WHERE eval_id = ? AND seq > ? ORDER BY seq LIMIT ?
"""
# Events that are not in the state file but in a segment: where in it.
EVENTS_IN_SEGMENTS = "SELECT seq, segment FROM event_log WHERE segment IS NOT NULL"
SET_EVENTS = "UPDATE event_log SET events = ?, segment = NULL WHERE seq = ?"
RUNNING_EXECUTORS = "SELECT id FROM executor WHERE state = 'running'"
FORGET_EVENTS = "DELETE FROM event_log WHERE eval_id = ? AND seq <= ?"
SET_RECORD_POSITION = "UPDATE eval SET record_position = ? WHERE id = ?"

# --- executors

INSERT_EXECUTOR = """
INSERT INTO executor (name, pool, pid, host, log, state, lease_until, started_at, heartbeat_at)
VALUES (:name, :pool, :pid, :host, :log, 'running', :lease_until, :now, :now)
"""
SET_EXECUTOR_PID = "UPDATE executor SET pid = ? WHERE id = ?"
GET_EXECUTOR_STATE = "SELECT state FROM executor WHERE id = ?"
COUNT_PEERS = "SELECT count(*) FROM executor WHERE state = 'running' AND pool = ?"
HEARTBEAT = """
UPDATE executor SET heartbeat_at = :now, lease_until = :lease_until, in_flight = :in_flight,
                    gauges = :gauges, running = :running
WHERE id = :id AND state = 'running'
"""
END_EXECUTOR = "UPDATE executor SET state = ?, in_flight = 0, running = '[]' WHERE id = ?"
END_ALL_EXECUTORS = """
UPDATE executor SET state = 'dead', in_flight = 0, running = '[]' WHERE state = 'running'
"""
SILENT_EXECUTORS = (
    "SELECT id FROM executor WHERE state = 'running' AND lease_until < ? ORDER BY lease_until"
)
LIST_EXECUTORS = """
SELECT id, name, pool, pid, host, state, started_at, heartbeat_at, in_flight, gauges, running,
       log
FROM executor ORDER BY id
"""

# --- for those who watch: none of these takes a lock that a writer waits for

# Through task_queued: the task that is handed out next. Where none waits, the last one there is.
FIRST_WAITING = """
SELECT min(id) FROM task INDEXED BY task_queued
WHERE eval_id = ? AND state = 'queued' AND not_before = 0
"""
LAST_TASK = "SELECT max(id) FROM task"
# Walks rowids, whose order is the order of the queue; `+` keeps the planner off other indices.
FINISHED_AMONG = """
SELECT finished_at - leased_at FROM task
WHERE id BETWEEN ?1 AND ?2 AND +eval_id = ?3 AND +state IN ('done', 'failed') AND +finished_at > ?4
"""
# Walks task_failed, which ends in the rowid, in the order in which attempts failed.
FAILURES_AFTER = """
SELECT id, finished_at, eval_id, question_id, attempt_id, retry_idx, result
FROM task INDEXED BY task_failed
WHERE state = 'failed' AND finished_at >= ?1 AND (finished_at, id) > (?1, ?2)
ORDER BY finished_at, id LIMIT ?3
"""
