"""The queue: one sqlite file per run set.

paths           where state lives, and who may read it
states, rows    the state machine and the values it works on (pure)
sql             every statement
connection      a connection's settings, its turn to write, its thread
exchange        the hot transaction: completions in, leases out
transactions    one function for each of the others
event_log       events that wait to be recorded, large ones in files of their own
backup          durable copies
store           opens a run set, and hands each transaction to the connection's thread
"""
