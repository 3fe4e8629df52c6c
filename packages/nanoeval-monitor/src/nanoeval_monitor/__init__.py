"""A web page for runs: those that are going, read from their state files, and those that are done,
read from their records. Nothing but a limit that somebody changes is written to either.

Layers; what each imports when it is loaded is above it, or in its line:

    _value_text, _safe_pickles, _search_words    what must not be trusted, made harmless (pure)
    _process_memory, _failure_kinds              of processes; of errors, by kind
    _attempt_row, _score_totals                  one attempt in a line; the running score (pure)
    _record_lines, _index_sql, _record_index     the index of a record
    _run_summary, _sample_query, _comparison     what there is to say about records
    _run_list                                    all runs
    _live_history, _live_run_set, _live_feed     those that are going
    _access, _background_indexing, _server       who may ask, and what is answered
    _monitor_process, _cli                       how it is started

This package stands above nanoeval-runner and nanoeval-recorder, whose files it reads; nothing
imports it. The runner finds `web_monitor` through the entry-point group `nanoeval.monitors`.
"""

from nanoeval_monitor._monitor_process import web_monitor as web_monitor

__all__ = ["web_monitor"]
