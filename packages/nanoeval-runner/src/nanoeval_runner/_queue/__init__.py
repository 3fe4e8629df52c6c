"""The queue: one sqlite file per run set.

paths          where state lives, and who may read it
states, rows   the state machine and the values it works on (pure)
sql            every statement
transactions   one function per transaction, on a plain sqlite3 connection
store          the connection: hands each transaction to its thread
reading        a state file for those who only look
backup         durable copies
"""
