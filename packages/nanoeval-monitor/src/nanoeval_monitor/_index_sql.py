"""Every SQL statement of the index of a record.

`attempt.id` counts attempts in the order of their first events, without gaps. `question` has how
many scored attempts each has and what they add up to. `attempt.verdict` is that of an attempt that
no retry follows: whether one does is looked up when it is read.
"""

from __future__ import annotations

from nanoeval_monitor._attempt_row import AttemptRow

VERSION = 9

SCHEMA = """
CREATE TABLE metadata (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE attempt (
    id           INTEGER PRIMARY KEY,
    sample_id    TEXT NOT NULL,
    group_id     TEXT NOT NULL,
    attempt      INTEGER NOT NULL,
    retry        INTEGER NOT NULL,
    verdict      TEXT NOT NULL,
    score        REAL,
    prob         REAL,
    picked       TEXT NOT NULL,
    expected     TEXT NOT NULL,
    question     TEXT NOT NULL,
    reply        TEXT NOT NULL,
    reply_chars  INTEGER NOT NULL,
    samplings    INTEGER NOT NULL,
    error        TEXT NOT NULL,
    fields       TEXT NOT NULL,
    at           TEXT NOT NULL,
    spans        BLOB NOT NULL
);
CREATE UNIQUE INDEX attempt_identity ON attempt (sample_id, group_id);
CREATE INDEX attempt_error ON attempt (id) WHERE error != '';
CREATE TABLE question (sample_id TEXT PRIMARY KEY, attempts INTEGER NOT NULL, total REAL NOT NULL)
    WITHOUT ROWID;
CREATE INDEX question_total ON question (attempts, total);
CREATE TABLE file (sha256 TEXT PRIMARY KEY, spans BLOB NOT NULL) WITHOUT ROWID;
"""
# Made when a record has been read to its end: kept up to date from the first attempt on, they take
# a quarter of the time that a million attempts take. Until then, filters and orders scan.
SORTED = """
CREATE INDEX IF NOT EXISTS attempt_verdict ON attempt (verdict, id);
CREATE INDEX IF NOT EXISTS attempt_reply_chars
    ON attempt (reply_chars, id, verdict, score, samplings);
CREATE INDEX IF NOT EXISTS attempt_prob ON attempt (prob, id, verdict, sample_id);
CREATE INDEX IF NOT EXISTS attempt_score ON attempt (score, id, verdict, sample_id)
"""
SEARCH_SCHEMA = "CREATE VIRTUAL TABLE IF NOT EXISTS search USING fts5(body, content='')"
# As many parts of one size as sqlite merges at once: with its 4, words are written twice as often.
SEARCH_MERGES = "INSERT INTO search (search, rank) VALUES ('automerge', 16)"
# Not synchronous: it can be made again.
PRAGMAS = "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -4000"
BEGIN = "BEGIN IMMEDIATE"

COMPILE_OPTIONS = "PRAGMA compile_options"
ALL_METADATA = "SELECT key, value FROM metadata"
SET_METADATA = (
    "INSERT INTO metadata (key, value) VALUES (?, ?) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)

# Through attempt_identity.
KNOWN_ATTEMPTS = """
SELECT sample_id, group_id, id, spans, score FROM attempt
WHERE id <= ? AND (sample_id, group_id) IN (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)
)
"""
_COLUMNS = ", ".join(AttemptRow._fields)
# Through attempt_identity.
_WAS_RETRIED = """EXISTS (
    SELECT 1 FROM attempt AS later WHERE later.sample_id = attempt.sample_id
    AND later.attempt = attempt.attempt AND later.retry > attempt.retry
)"""
_VERDICT = f"CASE WHEN verdict = 'lost' AND {_WAS_RETRIED} THEN 'error' ELSE verdict END"
_READ = _COLUMNS.replace("verdict", f"{_VERDICT} AS verdict")
_INTO_ATTEMPT = f"INTO attempt ({_COLUMNS}, id, spans) VALUES ({', '.join('?' * 18)})"
ADD_ATTEMPT = f"INSERT {_INTO_ATTEMPT} ON CONFLICT (sample_id, group_id) DO NOTHING"
PUT_ATTEMPT = f"INSERT OR REPLACE {_INTO_ATTEMPT}"
PUT_FILE = "INSERT OR IGNORE INTO file (sha256, spans) VALUES (?, ?)"
GET_FILE = "SELECT spans FROM file WHERE sha256 = ?"
ADD_SCORE = """
INSERT INTO question (sample_id, attempts, total) VALUES (?, ?, ?)
ON CONFLICT (sample_id) DO UPDATE
SET attempts = attempts + excluded.attempts, total = round(total + excluded.total, 9)
"""
# Along question_total: 50 ms of a million questions.
TALLIES = """
SELECT attempts, total, count(*) FROM question WHERE attempts > 0 GROUP BY attempts, total
"""
SCORES = "SELECT sample_id, score FROM attempt WHERE score IS NOT NULL"

# --- full text

SEARCHABLE = "SELECT id, sample_id, group_id, spans FROM attempt WHERE id > ? ORDER BY id LIMIT ?"
ADD_SEARCH = "INSERT INTO search (rowid, body) VALUES (?, ?)"
DROP_SEARCH = "INSERT INTO search (search, rowid, body) VALUES ('delete', ?, ?)"

# --- questions to it

COUNT_VERDICTS = f"SELECT {_VERDICT} AS found, count(*) FROM attempt GROUP BY found"
COUNT_ERRORS = "SELECT count(*) FROM attempt INDEXED BY attempt_error WHERE error != ''"
ERROR_KINDS = """
SELECT CASE WHEN instr(error, ':') BETWEEN 2 AND 80 THEN substr(error, 1, instr(error, ':') - 1)
            ELSE 'error' END AS kind, count(*), min(id), error
FROM attempt INDEXED BY attempt_error WHERE error != '' GROUP BY kind ORDER BY 2 DESC LIMIT 50
"""
SPANS_OF_SAMPLE = f"""
SELECT id, {_READ}, spans FROM attempt WHERE sample_id = ? ORDER BY attempt, retry, id LIMIT ?
"""
COUNT_OF_SAMPLE = "SELECT count(*) FROM attempt WHERE sample_id = ?"
FIELD_VALUES = """
SELECT each.value, count(*) FROM attempt, json_each(attempt.fields) AS each
WHERE key = ? GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?
"""
FIELDS = """
SELECT key, count(DISTINCT each.value), count(*) FROM attempt, json_each(attempt.fields) AS each
GROUP BY key
"""
GROUP_TALLIES = """
SELECT name, attempts, total, count(*) FROM (
    SELECT json_extract(fields, ?) AS name, sample_id, count(*) AS attempts, sum(score) AS total
    FROM attempt WHERE score IS NOT NULL GROUP BY name, sample_id
) WHERE name IS NOT NULL GROUP BY name, attempts, total ORDER BY name
"""
PROBABILITIES = (
    "SELECT sample_id, prob, score = 1 FROM attempt WHERE prob IS NOT NULL AND score IS NOT NULL"
)
LENGTHS = "SELECT reply_chars, score FROM attempt WHERE samplings > 0 AND score IS NOT NULL"

ORDERS = {
    "order": "id",
    "sample": "sample_id, attempt, retry",
    "score": "score, id",
    "prob": "prob, id",
    "length": "reply_chars, id",
}
VERDICT_FILTERS = {
    "error": f"verdict = 'lost' AND {_WAS_RETRIED}",
    "lost": f"verdict = 'lost' AND NOT {_WAS_RETRIED}",
    "with errors": "error != ''",
}
"""Filters that are more than the verdict as it is stored; each other name is that."""


def where(conditions: list[str]) -> str:
    return " WHERE " + " AND ".join(conditions) if conditions else ""


BY_VERDICT = "verdict = ?"
BY_FIELD = "json_extract(fields, ?) = ?"
BY_TEXT = "id IN (SELECT rowid FROM search WHERE search MATCH ?)"


def page(conditions: list[str], order: str, *, descending: bool) -> str:
    """Return one page of rows; its last two parameters are the limit and the offset."""
    direction = " DESC" if descending else ""
    columns = ", ".join(f"{column}{direction}" for column in ORDERS[order].split(", "))
    # Which rows, out of an index that covers it; only then the rows themselves, which are wide.
    ids = f"SELECT id FROM attempt{where(conditions)} ORDER BY {columns} LIMIT ? OFFSET ?"
    return f"SELECT id, {_READ} FROM attempt WHERE id IN ({ids}) ORDER BY {columns}"


def count(conditions: list[str]) -> str:
    return f"SELECT count(*) FROM attempt{where(conditions)}"
