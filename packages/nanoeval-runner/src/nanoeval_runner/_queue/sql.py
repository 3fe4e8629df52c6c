"""Every SQL statement on state files, named. `test_query_plans.py` holds that each uses its index.

What a run writes most is only ever appended: `task_data` when tasks are listed, `result` when they
end. Between the two nothing is written for a task, only for a span of ids: a `queue_span` holds
those that were never leased, and its `first` is the queue's cursor; a claim moves it and adds a
`lease_span`. `requeued` holds the few that wait again: retries until `not_before` (in monotonic
seconds), and tasks that were requeued or whose executor died, at 0. So a task is

    done or failed   when it has a result (`retried`: failed, and the next attempt is another row),
    leased           when a lease span holds it and it has no result,
    queued           when a queue span or `requeued` holds it.

Spans do not overlap. The views `task` and `lease` show one row a task. `result.state` has no CHECK:
it would cost half as much again as writing the row. Hot counters of an eval come in its row before
the large columns, so that a claim reads one page per eval.
"""

from __future__ import annotations

import dataclasses

from nanoeval_core.usage import Usage

SCHEMA_VERSION = 2

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

CREATE TABLE task_class (
    id      INTEGER PRIMARY KEY,
    pickled BLOB NOT NULL UNIQUE
);

CREATE TABLE task_data (
    id          INTEGER PRIMARY KEY,
    eval_id     INTEGER NOT NULL,
    question_id TEXT NOT NULL,
    attempt_id  INTEGER NOT NULL,
    retry_idx   INTEGER NOT NULL,
    class_id    INTEGER NOT NULL,
    fields      BLOB NOT NULL
);

CREATE TABLE queue_span (
    eval_id INTEGER NOT NULL,
    first   INTEGER NOT NULL,
    last    INTEGER NOT NULL CHECK (first <= last),
    PRIMARY KEY (eval_id, first)
) WITHOUT ROWID;

CREATE TABLE requeued (
    task_id    INTEGER PRIMARY KEY,
    eval_id    INTEGER NOT NULL,
    not_before REAL NOT NULL,
    losses     INTEGER NOT NULL
);
CREATE INDEX requeued_due ON requeued (eval_id, not_before);

CREATE TABLE lease_span (
    first       INTEGER PRIMARY KEY,
    last        INTEGER NOT NULL CHECK (first <= last),
    unfinished  INTEGER NOT NULL CHECK (unfinished > 0),
    executor_id INTEGER NOT NULL,
    eval_id     INTEGER NOT NULL,
    losses      INTEGER NOT NULL,
    leased_at   REAL NOT NULL
);
CREATE INDEX lease_span_executor ON lease_span (executor_id);

CREATE TABLE result (
    task_id     INTEGER PRIMARY KEY,
    state       TEXT NOT NULL,
    executor_id INTEGER NOT NULL,
    leased_at   REAL NOT NULL,
    finished_at REAL NOT NULL,
    value       BLOB NOT NULL
);
CREATE INDEX result_failed ON result (finished_at) WHERE state <> 'done';

CREATE TABLE result_log (
    seq      INTEGER PRIMARY KEY,
    eval_id  INTEGER NOT NULL,
    task_ids TEXT NOT NULL
);

CREATE TABLE event_log (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    eval_id INTEGER NOT NULL,
    events  BLOB NOT NULL
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
CREATE INDEX executor_running ON executor (pool) WHERE state = 'running';

CREATE VIEW task AS
SELECT data.id, data.eval_id, question_id, attempt_id, retry_idx,
       CASE WHEN result.state = 'retried' THEN 'failed'
            WHEN result.state IS NOT NULL THEN result.state
            WHEN span.first IS NOT NULL THEN 'leased'
            ELSE 'queued' END AS state,
       coalesce(span.executor_id, 0) AS executor_id,
       coalesce(span.losses, requeued.losses, 0) AS losses,
       coalesce(requeued.not_before, 0.0) AS not_before,
       coalesce(result.leased_at, span.leased_at, 0.0) AS leased_at,
       coalesce(result.finished_at, 0.0) AS finished_at,
       CAST(task_class.pickled || fields AS BLOB) AS payload, result.value AS result
FROM task_data AS data
JOIN task_class ON task_class.id = class_id
LEFT JOIN result ON result.task_id = data.id
LEFT JOIN requeued ON requeued.task_id = data.id
LEFT JOIN lease_span AS span
       ON span.first = (SELECT max(first) FROM lease_span WHERE first <= data.id)
      AND span.last >= data.id AND result.task_id IS NULL;

CREATE VIEW lease AS
SELECT data.id AS task_id, eval.name AS eval, question_id, attempt_id, retry_idx,
       executor.name AS executor, executor.pid, executor.lease_until, leased_at
FROM lease_span AS span
CROSS JOIN task_data AS data ON data.id BETWEEN span.first AND span.last
JOIN eval ON eval.id = span.eval_id
JOIN executor ON executor.id = span.executor_id
WHERE NOT EXISTS (SELECT 1 FROM result WHERE result.task_id = data.id);
"""

SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA secure_delete = OFF",  # some builds zero what is deleted
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA cache_size = -32000",
)
# In WAL mode this loses nothing to a killed process.
SYNC_WAL = "PRAGMA synchronous = NORMAL"
NO_SYNC = "PRAGMA synchronous = OFF"
ONE_FILE = "PRAGMA journal_mode = DELETE"
BEGIN = "BEGIN IMMEDIATE"
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"

GET_METADATA = "SELECT value FROM metadata WHERE key = ?"
SET_METADATA = "INSERT OR REPLACE INTO metadata (key, value) VALUES (?, ?)"
COUNT_TABLES = "SELECT count(*) FROM sqlite_master"
QUICK_CHECK = "PRAGMA quick_check(1)"

# --- evals

INSERT_EVAL = """
INSERT INTO eval (state, pool, concurrency, asked_concurrency, created_at, name, run_id,
                  model_name, arguments, origin, spec, encoder)
VALUES ('queued', :pool, :concurrency, :concurrency, :created_at, :name, :run_id,
        :model_name, :arguments, :origin, :spec, :encoder)
"""
# Columns by the field of `Usage` that they add up.
_USAGE = {field.name: field.name for field in dataclasses.fields(Usage)} | {
    "retries": "api_retries"
}
_EVALS = f"""
SELECT id, name, run_id, state, pool, listed, concurrency, total, queued, leased, done, failed,
       retries, model_name, created_at, elapsed, record_position, arguments, origin, summary,
       error, EXISTS (SELECT 1 FROM event_log WHERE eval_id = eval.id), {", ".join(_USAGE.values())}
FROM eval
"""
LIST_EVALS = f"{_EVALS} ORDER BY id"
GET_EVAL = f"{_EVALS} WHERE id = ?"
GET_EVAL_SPEC = "SELECT spec, encoder, origin FROM eval WHERE id = ?"
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
STOP_CLAIMS = "UPDATE eval SET draining = 1 WHERE id = ?"
SET_ELAPSED = "UPDATE eval SET elapsed = ? WHERE id = ?"
FINISH_EVAL = "UPDATE eval SET state = ?, summary = ?, elapsed = ? WHERE id = ?"
FAIL_EVAL = """
UPDATE eval SET state = 'failed', error = coalesce(error, ?)
WHERE id = ? AND state IN ('queued', 'running')
"""
COUNT_TASKS = "UPDATE eval SET queued = queued + :count, total = total + :count WHERE id = :id"
COUNT = """
UPDATE eval
SET queued = queued - :leased - :done - :failed, leased = leased + :leased, done = done + :done,
    failed = failed + :failed, retries = retries + :retries
WHERE id = :id
"""
COUNT_USAGE = f"""
UPDATE eval SET {", ".join(f"{column} = {column} + :{name}" for name, column in _USAGE.items())}
WHERE id = :id
"""
SET_PARTIAL_SUMMARY = "UPDATE eval SET summary = ? WHERE id = ? AND state = 'running'"
SET_EVAL_CONCURRENCY = "UPDATE eval SET concurrency = ? WHERE id = ?"
TOTAL_LEASED = "SELECT coalesce(sum(leased), 0) FROM eval"

# --- tasks and the queue

# What the tasks of a list have in common (their class above all) is stored once.
ADD_TASK_CLASS = "INSERT OR IGNORE INTO task_class (pickled) VALUES (?)"
FIND_TASK_CLASS = "SELECT id FROM task_class WHERE pickled = ?"
_PAYLOAD = """CAST((SELECT pickled FROM task_class WHERE id = class_id) || fields AS BLOB)"""
LAST_TASK_ID = "SELECT coalesce(max(id), 0) FROM task_data"
CHUNKS = (256, 64, 16, 4, 1)
"""Rows a statement of `INSERT_TASKS` and `INSERT_RESULTS` works on, largest first.

Many rows a statement are one call into sqlite, which lets go of the interpreter's lock once rather
than per row; few sizes are each prepared once and stay prepared.
"""


INSERT_TASKS = {
    n: "INSERT INTO task_data "
    "(id, eval_id, question_id, attempt_id, retry_idx, class_id, fields) "
    "SELECT column1, ?, column2, column3, 0, ?, column4 "
    f"FROM (VALUES {', '.join(['(?, ?, ?, ?)'] * n)})"
    for n in CHUNKS
}
"""By how many it stores: eval id, class id, and (id, question id, attempt id, fields) × n."""
ADD_QUEUE_SPAN = "INSERT INTO queue_span (eval_id, first, last) VALUES (?, ?, ?)"
QUEUE_SPANS = "SELECT first, last FROM queue_span WHERE eval_id = ? ORDER BY first LIMIT ?"
MOVE_CURSOR = "UPDATE queue_span SET first = ? WHERE eval_id = ? AND first = ?"
DELETE_QUEUE_SPAN = "DELETE FROM queue_span WHERE eval_id = ? AND first = ?"
DELETE_QUEUE_SPANS = "DELETE FROM queue_span WHERE eval_id = ?"
# What waited at 0 comes first; what waits for its time, when that has come, last.
DUE = """
SELECT task_id, not_before, losses FROM requeued INDEXED BY requeued_due
WHERE eval_id = ? AND not_before <= ? ORDER BY not_before, task_id LIMIT ?
"""
NEXT_DUE = """
SELECT min(not_before) FROM requeued INDEXED BY requeued_due WHERE eval_id = ? AND not_before > ?
"""
REQUEUE = "INSERT INTO requeued (task_id, eval_id, not_before, losses) VALUES (?, ?, ?, ?)"
DELETE_REQUEUED = "DELETE FROM requeued WHERE task_id = ?"
RESET_WAITING = "UPDATE requeued SET not_before = 0 WHERE not_before > 0"
INSERT_RETRY = """
INSERT INTO task_data (eval_id, question_id, attempt_id, retry_idx, class_id, fields)
SELECT eval_id, question_id, attempt_id, retry_idx + 1, class_id, fields FROM task_data WHERE id = ?
"""
LIST_QUEUED = f"""
SELECT data.id, question_id, attempt_id, retry_idx, {_PAYLOAD}, NULL
FROM queue_span AS span CROSS JOIN task_data AS data ON data.id BETWEEN span.first AND span.last
WHERE span.eval_id = :eval_id
UNION ALL
SELECT data.id, question_id, attempt_id, retry_idx, {_PAYLOAD}, NULL
FROM requeued INDEXED BY requeued_due CROSS JOIN task_data AS data ON data.id = requeued.task_id
WHERE requeued.eval_id = :eval_id
"""
DELETE_TASK = "DELETE FROM task_data WHERE id = ?"

# --- leases

ADD_LEASE_SPAN = """
INSERT INTO lease_span (first, last, unfinished, executor_id, eval_id, losses, leased_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_LEASE_SPAN = "SELECT first, last, unfinished, executor_id, eval_id, losses, leased_at"
# The span that holds a task, if one does: spans do not overlap.
FIND_LEASE_SPAN = f"{_LEASE_SPAN} FROM lease_span WHERE first <= ? ORDER BY first DESC LIMIT 1"
LEASE_SPANS_OF = (
    f"{_LEASE_SPAN} FROM lease_span INDEXED BY lease_span_executor WHERE executor_id = ?"
)
ALL_LEASE_SPANS = f"{_LEASE_SPAN} FROM lease_span"
SET_UNFINISHED = "UPDATE lease_span SET unfinished = ? WHERE first = ?"
DELETE_LEASE_SPAN = "DELETE FROM lease_span WHERE first = ?"
DATA_OF_SPAN = f"SELECT id, retry_idx, {_PAYLOAD} FROM task_data WHERE id BETWEEN ? AND ?"

# --- results

INSERT_RESULTS = {
    n: "INSERT INTO result (task_id, state, executor_id, leased_at, finished_at, value) "
    f"SELECT column1, ?, ?, ?, ?, column2 FROM (VALUES {', '.join(['(?, ?)'] * n)})"
    for n in CHUNKS
}
"""By how many it stores: state, executor, leased and finished at, and (task id, value) × n."""
FINISHED_IN_SPAN = "SELECT task_id FROM result WHERE task_id BETWEEN ? AND ?"
LIST_FINAL = f"""
SELECT data.id, question_id, attempt_id, retry_idx, CASE WHEN ? THEN {_PAYLOAD} END, value
FROM result CROSS JOIN task_data AS data ON data.id = result.task_id
WHERE result.task_id > ? AND result.task_id <= ? AND result.state <> 'retried'
  AND data.eval_id = ?
ORDER BY result.task_id LIMIT ?
"""
RESULTS_BY_ID = """
SELECT task_id, result.value
FROM json_each(?) AS asked CROSS JOIN result ON result.task_id = asked.value
"""
TASKS_BY_ID = f"""
SELECT data.id, question_id, attempt_id, retry_idx, {_PAYLOAD}, NULL
FROM json_each(?) AS asked CROSS JOIN task_data AS data ON data.id = asked.value
"""

# --- logs: what the driver has yet to see

LOG_RESULTS = "INSERT INTO result_log (eval_id, task_ids) VALUES (?, ?)"
READ_RESULT_LOG = "SELECT seq, eval_id, task_ids FROM result_log WHERE seq > ? ORDER BY seq LIMIT ?"
DELETE_RESULT_LOG = "DELETE FROM result_log"
LOG_EVENTS = "INSERT INTO event_log (eval_id, events) VALUES (?, ?)"
READ_EVENT_LOG = """
SELECT seq, events FROM event_log WHERE eval_id = ? AND seq > ? ORDER BY seq LIMIT ?
"""
# Rows whose events are in a file of their own: they are empty here, or NULL in older state files.
EVENTS_IN_FILES = "SELECT seq FROM event_log WHERE coalesce(length(events), 0) = 0"
LAST_EVENT_SEQ = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event_log'"
SET_EVENTS = "UPDATE event_log SET events = ? WHERE seq = ?"
# What earlier versions wrote: where in a file that is shared by many rows.
HAS_SEGMENTS = "SELECT count(*) FROM pragma_table_info('event_log') WHERE name = 'segment'"
EVENTS_IN_SEGMENTS = "SELECT seq, segment FROM event_log WHERE segment IS NOT NULL"
TAKE_IN_SEGMENT = "UPDATE event_log SET events = ?, segment = NULL WHERE seq = ?"
DELETE_EVENTS = "DELETE FROM event_log WHERE eval_id = ? AND seq <= ?"
SET_RECORD_POSITION = "UPDATE eval SET record_position = ? WHERE id = ?"

# --- executors

INSERT_EXECUTOR = """
INSERT INTO executor (name, pool, pid, host, log, lease_until, started_at, heartbeat_at, state)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'running')
"""
SET_EXECUTOR_PID = "UPDATE executor SET pid = ? WHERE id = ?"
GET_EXECUTOR = "SELECT state, lease_until FROM executor WHERE id = ?"
RENEW_LEASES = "UPDATE executor SET lease_until = ? WHERE id = ?"
COUNT_EXECUTORS = "SELECT count(*) FROM executor WHERE state = 'running' AND pool = ?"
HEARTBEAT = """
UPDATE executor SET heartbeat_at = :now, lease_until = :lease_until, in_flight = :in_flight,
                    gauges = :gauges, running = :running
WHERE id = :executor_id AND state = 'running'
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

# The task of an eval that is leased next. Where none waits, the last one there is.
FIRST_WAITING = "SELECT min(first) FROM queue_span WHERE eval_id = ?"
# Ids are in the order of the queue.
FINISHED_AMONG = """
SELECT finished_at - leased_at
FROM result CROSS JOIN task_data AS data ON data.id = result.task_id
WHERE result.task_id BETWEEN ? AND ? AND finished_at > ? AND data.eval_id = ?
"""
# In the order in which attempts failed.
FAILURES_AFTER = """
SELECT task_id, finished_at, eval_id, question_id, attempt_id, retry_idx, value
FROM result INDEXED BY result_failed CROSS JOIN task_data AS data ON data.id = result.task_id
WHERE state <> 'done' AND finished_at >= :at AND (finished_at, task_id) > (:at, :task_id)
ORDER BY finished_at, task_id LIMIT :limit
"""
