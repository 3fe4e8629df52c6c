"""A web page for runs: those that are going, read from their state files, and those that are done,
read from their records. Both are only read.

Layers, each importing only those above it:

    value_text, safe_pickles               what must not be trusted, made harmless (pure)
    attempt_row, score_totals              one attempt in a line; the running score (pure)
    index_sql, record_index                the index of a record
    run_summary, run_list, comparison      what there is to say about finished runs
    live_history, live_feed                what there is to say about runs that are going
    access, server                         who may ask, and what is answered
    monitor_process, cli                   how it is started

This package stands above nanoeval-runner and nanoeval-recorder, whose files it reads; nothing
imports it. The runner finds `web_monitor` through the entry-point group `nanoeval.monitors`.
"""

from nanoeval_monitor._monitor_process import web_monitor as web_monitor

__all__ = ["web_monitor"]
